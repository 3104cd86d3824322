"""oncall, route, notify, subscribe, templates: who is notified, and how."""
