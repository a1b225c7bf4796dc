"""The users of `deploy/*.acl`, on real servers: every password is the user's name and a word."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from redis import Redis

from embedded.redis import RedisServer

DEPLOY = Path(__file__).parents[2] / "deploy"


def password(user: str) -> str:
    return f"{user}-s3cr3t"


def options(file: str, directory: Path) -> dict[str, str]:
    """A server's, under the users of that file. The test keeps the default user for itself."""
    text = re.sub(r"#SHA256_OF_PASSWORD_OF_(\S+)", _hashed, (DEPLOY / file).read_text())
    path = directory / file
    path.write_text(text.replace("user default off", "user default on nopass ~* &* +@all"))
    return {"aclfile": str(path)}


def _hashed(found: re.Match[str]) -> str:
    return "#" + sha256(password(found[1]).encode()).hexdigest()


def url(server: RedisServer, user: str, scheme: str = "redis") -> str:
    return f"{scheme}://{user}:{password(user)}@127.0.0.1:{server.port}" + ("/0" if scheme == "redis" else "")


def refused(client: Redis) -> set[str]:
    """What was refused since the start, but for the name and version that a client tells of itself."""
    log: list[dict[str, Any]] = client.acl_log()
    return {str(entry["object"]) for entry in log} - {"client"}
