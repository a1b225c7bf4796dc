"""The Celery side: tasks decode, call the buffer, publish and chain. ``celery -A tasks worker`` finds the app here."""

from tasks.app import app

__all__ = ["app"]
