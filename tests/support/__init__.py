"""What several tests share: zoos, states, a stand-in hub, made runs, and the rule for fast tests. No test lives here."""
