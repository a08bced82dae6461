"""All pages: their scripts, relative to pages/frame.py, which builds the navigation from them."""

HOME = "home.py"
CHECKPOINTS = "checkpoints.py"
CONSTRUCT = "construct.py"
RUN = "run.py"
RUNS = "runs.py"
PLAYGROUND = "playground.py"
MIXER = "mixer.py"
PAPER = "paper.py"
SPEED = "speed.py"

HIDDEN = (RUNS,)  # pages without a place in the navigation
PAGES = (  # script, title, icon, help
    (HOME, "Home", ":material/home:", "What this is, and the runs so far"),
    (CHECKPOINTS, "Checkpoints", ":material/deployed_code:", "The task vectors of a zoo of checkpoints"),
    (CONSTRUCT, "Construct", ":material/tune:", "Choose settings and start a run"),
    (RUN, "Run", ":material/monitoring:", "One run, live and afterwards: units, scores, examples, landscape"),
    (RUNS, "Runs", ":material/compare_arrows:", "Several runs side by side"),
    (MIXER, "Mixer", ":material/instant_mix:", "Merge by hand, and see the scores at once"),
    (PLAYGROUND, "Playground", ":material/science:", "Anchors of one linear layer, computed as you drag"),
    (PAPER, "Paper", ":material/fact_check:", "The claims of the paper, and what was found here"),
    (SPEED, "Speed", ":material/speed:", "Benchmarks of this machine, beside plain implementations"),
)
