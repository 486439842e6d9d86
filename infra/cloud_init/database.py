# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database: PostgreSQL, TLS only, data on a volume."""

from __future__ import annotations

from infra.cloud_init.document import Document, File, etc, program
from infra.settings.stage import Settings

POSTGRESQL_PORT = 5432
_TLS = "/etc/postgresql/tls"
_CONFIG = f"""\
listen_addresses = '*'
ssl = on
ssl_cert_file = '{_TLS}/server.crt'
ssl_key_file = '{_TLS}/server.key'
password_encryption = 'scram-sha-256'
"""
#: The index can be made again from the store, the rest cannot, and the site has no business there.
_ROLES = r"""\set ON_ERROR_STOP on
\set functions `cat /run/testyard/passwords/functions`
\set site `cat /run/testyard/passwords/site`
SELECT 'CREATE ROLE ' || name || ' LOGIN' FROM (VALUES ('functions'), ('site')) AS wanted (name)
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE functions PASSWORD :'functions';
ALTER ROLE site PASSWORD :'site';
SELECT 'CREATE DATABASE ' || name || ' OWNER functions ENCODING ''UTF8'' TEMPLATE template0'
  FROM (VALUES ('testyard'), ('intake')) AS wanted (name)
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
REVOKE CONNECT ON DATABASE testyard, intake FROM PUBLIC;
GRANT CONNECT ON DATABASE testyard TO site;
\connect testyard
ALTER SCHEMA public OWNER TO functions;
GRANT USAGE ON SCHEMA public TO site;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO site;
ALTER DEFAULT PRIVILEGES FOR ROLE functions IN SCHEMA public GRANT SELECT ON TABLES TO site;
"""


def database(settings: Settings) -> str:
    """User data of the database's instance."""
    return Document(
        kind="database",
        name="database",
        node={"DATA_DIR": "/srv/data", "CODE_KIND": ""},
        packages=("postgresql",),
        files=(
            program("testyard-start", source="start-database"),
            program("testyard-volume"),
            # no cluster on the root disk
            File("/etc/postgresql-common/createcluster.conf", "create_main_cluster = false\n"),
            etc("postgresql.conf", _CONFIG),
            etc("pg_hba.conf", access(settings)),
            etc("roles.sql", _ROLES),
        ),
    ).render()


def access(settings: Settings) -> str:
    """pg_hba.conf: functions and site, from the home region's network."""
    network = settings.home.subnet
    return "".join(
        (
            "local all postgres peer\n",
            f"hostssl testyard,intake functions {network} scram-sha-256\n",
            f"hostssl testyard site {network} scram-sha-256\n",
        )
    )
