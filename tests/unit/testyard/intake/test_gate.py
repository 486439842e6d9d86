# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate: limits, rights, and what makes no sense."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from testyard.admission import Rates, SourceArchive
from testyard.errors import ForbiddenError, LimitError, RequestError, SettingsError
from testyard.intake import ANONYMOUS, Identity, Scope, audit, create_intake, intake_engine
from testyard.intake.audit import Action
from testyard.intake.gate import Gate
from testyard.intake.policy import Right
from testyard.intake.submit import Wish
from testyard.queue import QueueName
from testyard.settings import Database, Intake, Settings, Topology

OPERATOR = Identity("operator/root", "root")
BOT = Identity("launchpad/britney", "britney", scopes=frozenset({Scope.REQUEST}), token="0123")
JANE = Identity("github/jane", "jane")
NOBLE = "debci-noble-amd64"


def wish(
    package: str = "gzip", *, queue: str = "debci-noble-amd64", force: bool = False, **keys: Any
) -> Wish:
    parameters = {name.replace("_", "-"): value for name, value in keys.items()}
    return Wish(QueueName.parse(queue), package, parameters, force=force)


REPOSITORY = "https://example.org/a"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        database=Database(url=SecretStr(f"sqlite:///{tmp_path}/intake.db")),
        topology=Topology(
            releases=("noble", "focal"),
            architectures=("amd64", "riscv64"),
            contexts=("ubuntu", "ppa", "upstream"),
            allowed={"focal": ("amd64",)},
        ),
        intake=Intake(rates=Rates(identity_burst=2, address_burst=3)),
    )


@pytest.fixture
def memory(settings: Settings) -> Iterator[Engine]:
    engine = intake_engine(settings)
    create_intake(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def gate(settings: Settings, memory: Engine) -> Gate:
    return Gate.of(settings, memory)


def test_limits_of_identity_and_address(gate: Gate) -> None:
    gate.admit(JANE, "192.0.2.1", cost=2)
    with pytest.raises(LimitError, match="github/jane"):
        gate.admit(JANE, "192.0.2.2")
    gate.admit(BOT, "192.0.2.1")
    with pytest.raises(LimitError, match="this address"):
        gate.admit(ANONYMOUS, "192.0.2.1")
    for _ in range(10):
        gate.admit(OPERATOR, "192.0.2.1")


def test_without_a_file_token_holders_and_operators_may_request(gate: Gate) -> None:
    gate.allow([wish(), wish("dash", force=True)], BOT)
    gate.allow([wish(readable_by="someone")], OPERATOR)
    with pytest.raises(ForbiddenError, match="github/jane may not request tests of gzip") as refused:
        gate.allow([wish()], JANE)
    assert refused.value.resolution == "This is for holders of a token."
    assert not refused.value.login


def test_where_people_log_in_a_token_alone_is_no_right(settings: Settings, memory: Engine) -> None:
    # whoever logs in makes tokens
    people = settings.intake.model_copy(update={"logins": Path("logins.toml")})
    gate = Gate.of(settings.model_copy(update={"intake": people}), memory)
    with pytest.raises(ForbiddenError, match="may not request"):
        gate.allow([wish()], BOT)
    gate.allow([wish()], OPERATOR)


def test_who_is_not_known_is_asked_to_log_in(gate: Gate) -> None:
    with pytest.raises(ForbiddenError, match="Log in to request tests of gzip in ubuntu of noble") as refused:
        gate.allow([wish()], ANONYMOUS)
    assert refused.value.login


def test_a_token_is_for_its_scopes_only(gate: Gate) -> None:
    reader = Identity("operator/root", "root", scopes=frozenset({Scope.READ_PRIVATE}), token="0123")
    with pytest.raises(ForbiddenError, match="this token is not to request") as refused:
        gate.allow([wish()], reader)
    assert "scope request" in refused.value.resolution
    with pytest.raises(ForbiddenError, match="this token is not to cancel"):
        gate.may_cancel(BOT, BOT.owner, "gzip", NOBLE)
    assert not gate.may(reader, Right.ADMIN)
    assert gate.may(OPERATOR, Right.ADMIN)


def test_variables_are_a_right_where_results_decide_about_migration(
    settings: Settings, memory: Engine, tmp_path: Path
) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text('[[rule]]\nwho = "github/jane"\nmay = "request"\n')
    settings = settings.model_copy(update={"intake": settings.intake.model_copy(update={"policy": rules})})
    gate = Gate.of(settings, memory)
    queue = "debci-upstream-noble-amd64"
    gate.allow([wish(env=["A=1"], ppas=["a/b"]), wish(queue=queue, env=["A=1"], test_git=REPOSITORY)], JANE)
    for kept in (wish(env=["A=1"]), wish(testname="one"), wish(queue=queue, env=["A=1"])):
        with pytest.raises(ForbiddenError, match="variables"):
            gate.allow([kept], JANE)


def test_own_requests_may_be_cancelled_and_others_not(gate: Gate) -> None:
    gate.may_cancel(JANE, "github/jane", "gzip", NOBLE)
    gate.may_cancel(OPERATOR, "github/jane", "gzip", NOBLE)
    for owner in ("github/joe", ""):
        with pytest.raises(ForbiddenError, match="cancel others' tests of gzip"):
            gate.may_cancel(JANE, owner, "gzip", NOBLE)
        with pytest.raises(ForbiddenError):
            gate.may_cancel(ANONYMOUS, owner, "gzip", NOBLE)


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        (wish(queue="debci-jammy-amd64"), "release", "'jammy' is not configured; there is: noble, focal"),
        (wish(queue="debci-noble-arm64"), "architecture", "'arm64' is not configured"),
        (wish(queue="debci-focal-riscv64"), "architecture", "focal is not tested on riscv64"),
        (wish(queue="debci-huge-noble-amd64"), "context", "'huge' is not configured"),
        (wish("GZIP"), "package", "capital letters"),
        # else who may ask there only gets a result into the container that migration software reads
        (wish(queue="debci-ppa-noble-amd64", triggers=["gzip/1"]), "context", "name one in ppas"),
        (wish(queue="debci-upstream-noble-amd64", triggers=["gzip/1"]), "context", "test-git or build-git"),
        (wish(env=["ADT_TEST_TRIGGERS=gzip/1"]), "env", "is set from triggers"),
        (wish(triggers=["migration-reference/0", "gzip/1"]), "triggers", "no other trigger"),
        (wish(triggers=["migration-reference/0"], ppas=["a/b"]), "ppas", "no archive"),
        (wish(triggers=["migration-reference/0"], all_proposed="1"), "all-proposed", "proposed pocket"),
    ],
)
def test_what_makes_no_sense_is_told_by_its_field(gate: Gate, wrong: Wish, field: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as one:
        gate.check([wrong])
    assert one.value.field == field
    with pytest.raises(RequestError) as many:
        gate.check([wish(), wrong])
    assert many.value.field == f"requests[1].{field}"


def test_what_makes_sense_passes(gate: Gate) -> None:
    gate.check([wish(triggers=["migration-reference/0"]), wish(queue="debci-ppa-focal-amd64", ppas=["a/b"])])


def with_policy(settings: Settings, memory: Engine, folder: Path, text: str, **intake: Any) -> Gate:
    path = folder / "policy.toml"
    path.write_text(text)
    changed = settings.intake.model_copy(update={"policy": path, **intake})
    return Gate.of(settings.model_copy(update={"intake": changed}), memory)


def test_rights_from_a_file(settings: Settings, memory: Engine, tmp_path: Path) -> None:
    gate = with_policy(
        settings,
        memory,
        tmp_path,
        '[[rule]]\nwho = "github/jane"\nmay = ["request", "cancel", "unlimited"]\n',
    )
    gate.allow([wish(triggers=["glibc/1"])], JANE)
    gate.may_cancel(JANE, "github/joe", "gzip", NOBLE)
    gate.admit(JANE, "192.0.2.1", cost=10_000)
    gate.admit(JANE, "192.0.2.1")
    for taken, words in (
        (wish(force=True), "force"),
        (wish(readable_by="jane"), "private"),
        (wish(env=["A=1"]), "variables"),
        (wish(testname="smoke", triggers=["gzip/1"]), "variables"),
        (wish(queue="debci-urgent-noble-amd64"), "change the order of"),
    ):
        with pytest.raises(ForbiddenError, match=words):
            gate.allow([wish(), taken], JANE)
    gate.allow([wish(env=["A=1"], queue="debci-ppa-noble-amd64", ppas=["a/b"])], JANE)


def test_whose_cancelling_ends_where_their_context_and_release_do(
    settings: Settings, memory: Engine, tmp_path: Path
) -> None:
    text = '[[rule]]\nwho = "*"\nmay_not = "cancel"\ncontexts = "ubuntu"\nreleases = "noble"\n'
    gate = with_policy(settings, memory, tmp_path, text + '[[rule]]\nwho = "*"\nmay = "cancel"\n')
    for queue in ("debci-focal-amd64", "debci-ppa-noble-amd64"):
        gate.may_cancel(JANE, "github/joe", "gzip", queue)
    with pytest.raises(ForbiddenError, match="cancel others' tests of gzip in ubuntu of noble"):
        gate.may_cancel(JANE, "github/joe", "gzip", NOBLE)
    gate.may_cancel(JANE, "github/jane", "gzip", NOBLE)


@pytest.mark.parametrize("key", ["build_git", "test_git"])
def test_repositories_inside_are_refused(
    settings: Settings, memory: Engine, tmp_path: Path, key: str
) -> None:
    gate = with_policy(settings, memory, tmp_path, "")
    for url in ("http://127.0.0.1/x.git", "git://10.0.0.1/x#main", "https://localhost:3000/x"):
        with pytest.raises(RequestError, match="internal address") as refused:
            gate.check([wish("proj", **{key: url})])
        assert refused.value.field == key.replace("_", "-")
    gate.check([wish("proj", **{key: "https://93.184.215.14/x.git"})])
    # who cannot be found cannot be judged either; the worker will say so
    gate.check([wish("proj", **{key: "https://nowhere.invalid/x.git"})])
    allowed = with_policy(settings, memory, tmp_path, "", inside=("127.0.0.0/8",))
    allowed.check([wish("proj", **{key: "http://127.0.0.1/x.git"})])
    named = with_policy(settings, memory, tmp_path, '[git]\nhosts = "*.example.org"\ninternal = true\n')
    with pytest.raises(RequestError, match="none of the hosts"):
        named.check([wish("proj", **{key: "http://127.0.0.1/x.git"})])
    inside = with_policy(settings, memory, tmp_path, "[git]\ninternal = true\n")
    inside.check([wish("proj", **{key: "http://127.0.0.1/x.git"})])


def test_what_is_never_run_is_refused_and_lists_that_are_elsewhere_are_not_missed(
    settings: Settings, memory: Engine, tmp_path: Path
) -> None:
    lists = tmp_path / "lists"
    changed = settings.worker.model_copy(update={"package_lists": lists})
    gate = Gate.of(settings.model_copy(update={"worker": changed}), memory)
    gate.check([wish("gzip")])
    lists.mkdir()
    (lists / "never_run").write_text("gzip/amd64\n")
    with pytest.raises(RequestError, match="package: gzip is on never_run for noble on amd64"):
        gate.check([wish("gzip")])
    gate.check([wish("gzip", queue="debci-noble-riscv64")])


def test_an_archive_that_is_away_is_told_once(settings: Settings, memory: Engine) -> None:
    archive = SourceArchive(url="http://127.0.0.1:1", suites=("{release}",))
    intake = settings.intake.model_copy(update={"archives": (archive,)})
    gate = Gate.of(settings.model_copy(update={"intake": intake}), memory)
    notes = gate.check([wish(), wish(queue="debci-noble-riscv64"), wish("dash")]).notes
    assert len(notes) == 1
    assert notes[0].startswith("not looked up whether it is published: http://127.0.0.1:1/dists/noble: ")


def test_a_folder_that_cannot_be_used_is_told(settings: Settings, memory: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    intake = settings.intake.model_copy(update={"archives_cache": tmp_path / "file" / "cache"})
    with pytest.raises(SettingsError, match=r"intake\.archives_cache: .*Not a directory"):
        Gate.of(settings.model_copy(update={"intake": intake}), memory)


def test_who_may_some_of_it(settings: Settings, memory: Engine, tmp_path: Path) -> None:
    text = '[[rule]]\nwho = "github/mallory"\nmay_not = "request"\npackages = "gzip"\n'
    text += '[[rule]]\nwho = "*"\nmay = "request"\npackages = "ty-*"\n'
    gate = with_policy(settings, memory, tmp_path, text)
    for who in (ANONYMOUS, JANE, Identity("github/mallory", "mallory")):
        assert gate.may_some(who, Right.REQUEST)
        assert not gate.may(who, Right.REQUEST)
        assert not gate.may_some(who, Right.CANCEL)
    assert with_policy(settings, memory, tmp_path, "").may_some(OPERATOR, Right.ADMIN)
    assert not with_policy(settings, memory, tmp_path, "").may_some(JANE, Right.REQUEST)


def test_refusals_are_noted_without_what_is_private(gate: Gate, memory: Engine) -> None:
    error = RequestError("triggers", "no such thing in hidden")
    gate.note_refusal(JANE, "192.0.2.1", error, [wish("hidden", readable_by="jane"), wish()])
    gate.note_refusal(JANE, "192.0.2.1", error, [wish("gzip"), wish("gzip"), wish("dash")])
    gate.note_refusal(ANONYMOUS, "192.0.2.1", ForbiddenError("log in", login=True))
    with memory.connect() as connection:
        (_, newest), (_, private) = audit.deeds(connection)
    assert newest.details == {"package": "gzip dash", "reason": "triggers: no such thing in hidden"}
    assert (newest.owner, newest.action, newest.address) == (JANE.owner, Action.REFUSED, "192.0.2.1")
    assert private.details == {}
