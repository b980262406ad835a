"""What handlers are given: their exchange, their transaction, and the agent that is meant."""

import asyncio
import time
from datetime import datetime, timezone
from typing import Annotated

from fastapi import Depends, Request

import store
from faults import Exchange
from history import MARK, Change
from quirks import Quirks
from settings import Settings
from store import Session


class Problem(Exception):
    """An error of the service's own: ``{"message", "code", "data"}``."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


async def exchange_of(request: Request) -> Exchange:
    """Ties the request's exchange to the handler that the router chose.

    Async: FastAPI hands what is not to a thread, each time.
    """
    exchange: Exchange = request.state.exchange
    route = request.scope["route"]
    exchange.route = f"{request.method} {route.path}"
    exchange.handler = route.name
    return exchange


Ex = Annotated[Exchange, Depends(exchange_of)]


async def session_of(request: Request, exchange: Ex):
    """A transaction that FastAPI commits after the answer has left, as in the real service."""
    async with request.app.state.pool.acquire() as connection:
        exchange.effect.connected = time.monotonic()
        transaction = connection.transaction()
        await transaction.start()
        change = Change(request.headers.get(MARK))
        session = Session(
            connection, transaction, exchange.effect, request.app.state.history, change
        )
        try:
            yield session
        except BaseException:
            await session.rollback()
            raise
        settings: Settings = request.app.state.settings
        if not session.ended:
            if settings.commit_delay:
                exchange.effect.asked += settings.commit_delay
                await asyncio.sleep(settings.commit_delay)
            if any(f.do == "rollback" for f in await exchange.at("commit")):
                await session.rollback()
        await session.commit()


Db = Annotated[Session, Depends(session_of)]


async def authenticated(request: Request, db: Db) -> None:
    """The service's own checks: an agent's headers, and any credential where it wants one."""
    settings: Settings = request.app.state.settings
    headers = request.headers
    if secret := headers.get("x-agent-api-key"):
        if not await store.secret_known(db.connection, secret):
            raise Problem(401, "Invalid agent API key")
        return
    if agent := headers.get("x-agent-identity"):
        if not await store.agent_by(db.connection, id=agent):
            raise Problem(401, "Unknown agent identity")
        return
    if settings.require and not any(name in headers for name in settings.require):
        raise Problem(401, "Not authenticated")


class Suffer:
    """Has a request suffer the quirks of the agent whose keys it is about; gives them."""

    def __init__(self, request: Request, exchange: Ex, db: Db):
        self.state = request.app.state
        self.exchange = exchange
        self.db = db

    def __call__(self, *agents: str | None, key: str | None = None, changes=False) -> Quirks:
        if key:
            agents = (self.state.history.agent_of.get(key),)
        quirks = self.state.quirks.of(*agents)
        quirks.strike(self.exchange, changes)
        self.db.replicas = quirks.replicas
        return quirks


async def suffering(request: Request, exchange: Ex, db: Db) -> Suffer:
    return Suffer(request, exchange, db)


Suffers = Annotated[Suffer, Depends(suffering)]


async def the_agent(db: Session, agent_id: str | None, agent_name: str | None):
    """The one agent that a request names."""
    if (agent_id is None) == (agent_name is None):
        raise Problem(400, "Exactly one of agent_id and agent_name is required")
    agent = await store.agent_by(db.connection, id=agent_id, name=agent_name)
    if agent is None:
        raise Problem(404, "Agent not found")
    return agent


def moment(at: datetime, form: str) -> str:
    """A time in one of the forms in which services write it."""
    at = at.astimezone(timezone.utc)
    text = at.replace(tzinfo=None).isoformat()
    return text + {"naive": "", "offset": "+00:00", "zulu": "Z"}[form]
