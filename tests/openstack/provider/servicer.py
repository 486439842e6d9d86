# SPDX-License-Identifier: AGPL-3.0-or-later
"""terraform's provider protocol, version 6: what it asks, and who answers."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from openstack.connection import Connection
from openstack.exceptions import NotFoundException
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

from tests.openstack.provider import messages as m
from tests.openstack.provider.clouds import Clouds, region_of
from tests.openstack.provider.facts import Facts, conflict, with_facts
from tests.openstack.provider.kinds import EXPECTED_ERRORS, ProviderError, Resource
from tests.openstack.provider.planning import plan, replacements
from tests.openstack.provider.schema import Catalogue
from tests.openstack.provider.services import DATA_SOURCES, RESOURCES
from tests.openstack.provider.values import UNKNOWN, Values, known, merge

log = logging.getLogger("provider")

WHAT_IT_IS = "Testyard's stand-in, made for its tests, takes the place of the official OpenStack provider"


def answered(response: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Log each call; errors go to terraform in ``response``, expected ones in a sentence."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: Any, request: Any, context: Any) -> Any:
            kind = getattr(request, "type_name", "")
            start = time.monotonic()
            try:
                answer = method(self, request)
            except EXPECTED_ERRORS as problem:
                answer = response(diagnostics=[m.error(f"{kind or 'provider'}: {problem}")])
            except Exception as problem:
                log.exception("%s %s", method.__name__, kind)
                answer = response(diagnostics=[m.error(f"{kind}: stand-in provider: {problem!r}")])
            wrong = [one.summary for one in answer.diagnostics if one.severity == pb.Diagnostic.ERROR]
            log.info("%s %s %.3f s %s", method.__name__, kind, time.monotonic() - start, "; ".join(wrong))
            return answer

        return call

    return decorate


class Provider(rpc.ProviderServicer):  # type: ignore[misc]
    """Answers terraform. ``catalogue`` is the schema as the bindings have it."""

    def __init__(self, catalogue: Catalogue) -> None:
        facts = {f"openstack_{name}": one.facts for name, one in RESOURCES.items()}
        self._catalogue = replace(
            catalogue,
            resources={
                name: with_facts(block, facts.get(name, Facts()))
                for name, block in catalogue.resources.items()
            },
        )
        self._clouds = Clouds()

    @answered(pb.GetProviderSchema.Response)
    def GetProviderSchema(self, request: Any) -> Any:
        return pb.GetProviderSchema.Response(
            provider=m.schema_message(self._catalogue.provider),
            resource_schemas=_schemas(self._catalogue.resources),
            data_source_schemas=_schemas(self._catalogue.data_sources),
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True),
        )

    @answered(pb.ValidateProviderConfig.Response)
    def ValidateProviderConfig(self, request: Any) -> Any:
        return pb.ValidateProviderConfig.Response()

    @answered(pb.ValidateResourceConfig.Response)
    def ValidateResourceConfig(self, request: Any) -> Any:
        resource = RESOURCES.get(_short(request.type_name))
        wrong = conflict(resource.facts, m.read_value(request.config) or {}) if resource else None
        return pb.ValidateResourceConfig.Response(diagnostics=[m.error(wrong)] if wrong else [])

    @answered(pb.ValidateDataResourceConfig.Response)
    def ValidateDataResourceConfig(self, request: Any) -> Any:
        return pb.ValidateDataResourceConfig.Response()

    @answered(pb.ConfigureProvider.Response)
    def ConfigureProvider(self, request: Any) -> Any:
        self._clouds.configure(known(m.read_value(request.config) or {}))
        told = m.warning(WHAT_IT_IS, "It says nothing about what the official provider would do.")
        return pb.ConfigureProvider.Response(diagnostics=[told])

    @answered(pb.UpgradeResourceState.Response)
    def UpgradeResourceState(self, request: Any) -> Any:
        block = self._catalogue.resources[request.type_name]
        return pb.UpgradeResourceState.Response(
            upgraded_state=m.value_message(block, m.read_value(request.raw_state))
        )

    @answered(pb.ReadResource.Response)
    def ReadResource(self, request: Any) -> Any:
        resource = _built(request.type_name)
        block = self._catalogue.resources[request.type_name]
        current = m.read_value(request.current_state) or {}
        try:
            state: Values | None = self._read(request.type_name, resource, current)
        except NotFoundException:
            state = None
        return pb.ReadResource.Response(new_state=m.value_message(block, state), private=request.private)

    def _read(self, type_name: str, resource: Resource, current: Values) -> Values:
        connection = self._connection(current)
        observed = {**resource.read(connection, known(current)), "region": region_of(connection)}
        return merge(self._catalogue.resources[type_name], current, observed)

    def _connection(self, values: Mapping[str, Any]) -> Connection:
        region = values.get("region")
        return self._clouds.connection(None if region is UNKNOWN else region)

    @answered(pb.PlanResourceChange.Response)
    def PlanResourceChange(self, request: Any) -> Any:
        _built(request.type_name)
        block = self._catalogue.resources[request.type_name]
        prior, proposed = m.read_value(request.prior_state), m.read_value(request.proposed_new_state)
        answer = {"planned_private": request.prior_private, "legacy_type_system": True}
        if proposed is None:
            return pb.PlanResourceChange.Response(planned_state=m.value_message(block, None), **answer)
        planned = plan(block, prior, proposed, m.read_value(request.config) or {})
        paths = list(replacements(block, prior, planned)) if prior is not None else []
        return pb.PlanResourceChange.Response(
            planned_state=m.value_message(block, planned), requires_replace=m.path_messages(paths), **answer
        )

    @answered(pb.ApplyResourceChange.Response)
    def ApplyResourceChange(self, request: Any) -> Any:
        resource = _built(request.type_name)
        block = self._catalogue.resources[request.type_name]
        prior, planned = m.read_value(request.prior_state), m.read_value(request.planned_state)
        answer = {"private": request.planned_private, "legacy_type_system": True}
        state, problem = prior, None
        try:
            if planned is None:
                self._delete(resource, prior or {})
                state = None
            elif prior is None:
                made = resource.create(self._connection(planned), self._wanted(request, planned))
                state = {**known(planned), **made}
                if resource.ready is not None:
                    resource.ready(self._connection(planned), state)
                state = self._read(request.type_name, resource, state)
            else:
                self._update(request, resource, prior, planned)
                state = self._read(request.type_name, resource, planned)
        except EXPECTED_ERRORS as error:
            problem = m.error(f"{request.type_name}: {error}")
        return pb.ApplyResourceChange.Response(
            new_state=m.value_message(block, state), diagnostics=[problem] if problem else [], **answer
        )

    def _wanted(self, request: Any, planned: Values) -> Values:
        """What to make: as planned, but in full where the state keeps a digest only."""
        config = m.read_value(request.config) or {}
        block = self._catalogue.resources[request.type_name]
        whole = {name: config.get(name) for name, one in block.attributes.items() if one.hashed}
        return {**known(planned), **whole}

    def _delete(self, resource: Resource, prior: Values) -> None:
        try:
            resource.delete(self._connection(prior), prior)
        except NotFoundException:
            log.info("was gone already")

    def _update(self, request: Any, resource: Resource, prior: Values, planned: Values) -> None:
        if resource.update is not None:
            resource.update(self._connection(prior), prior, self._wanted(request, planned))

    @answered(pb.ImportResourceState.Response)
    def ImportResourceState(self, request: Any) -> Any:
        _built(request.type_name)
        block = self._catalogue.resources[request.type_name]
        imported = pb.ImportResourceState.ImportedResource(
            type_name=request.type_name, state=m.value_message(block, {"id": request.id})
        )
        return pb.ImportResourceState.Response(imported_resources=[imported])

    @answered(pb.ReadDataSource.Response)
    def ReadDataSource(self, request: Any) -> Any:
        source = DATA_SOURCES.get(_short(request.type_name))
        if source is None:
            raise ProviderError("the stand-in provider does not look this up; the official one does")
        config = known(m.read_value(request.config) or {})
        connection = self._connection(config)
        observed = {**source.read(connection, config), "region": region_of(connection)}
        block = self._catalogue.data_sources[request.type_name]
        return pb.ReadDataSource.Response(state=m.value_message(block, merge(block, config, observed)))

    def StopProvider(self, request: Any, context: Any) -> Any:
        return pb.StopProvider.Response()


def _schemas(blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {name: m.schema_message(block) for name, block in blocks.items()}


def _short(type_name: str) -> str:
    return type_name.removeprefix("openstack_")


def _built(type_name: str) -> Resource:
    """Raises ProviderError for what is in the schema only."""
    resource = RESOURCES.get(_short(type_name))
    if resource is None:
        raise ProviderError("the stand-in provider does not build this; the official one does")
    return resource
