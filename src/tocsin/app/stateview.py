"""Where ``CachedView`` was before rules needed it too."""

from tocsin.state.cached import CachedView as CachedView
