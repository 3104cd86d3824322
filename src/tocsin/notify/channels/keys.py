"""Keys of a receiver: one for each channel that is known when this is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model

from tocsin.config.yaml.document import YamlModel
from tocsin.notify.channels.base import Channel
from tocsin.notify.channels.registry import CHANNELS


class _Model(YamlModel):
    @property
    def channels(self) -> Mapping[str, Any]:
        """Options of the channels that stand here, by key."""
        found = {key: getattr(self, key, None) for key in CHANNELS}
        return {key: options for key, options in found.items() if options is not None}


def _key(channel: type[Channel]) -> tuple[Any, Any]:
    about = (channel.Options.__doc__ if isinstance(channel.Options, type) else channel.__doc__) or channel.key
    return channel.Options | None, Field(default=None, description=about.split("\n")[0], examples=[channel.example])


if TYPE_CHECKING:

    class ChannelsModel(_Model):
        """A key for each channel."""

else:
    ChannelsModel = create_model(
        "ChannelsModel", __base__=_Model, **{key: _key(channel) for key, channel in CHANNELS.items()}
    )
