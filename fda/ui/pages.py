"""All pages: their scripts, relative to pages/frame.py, which builds the navigation from them."""

HOME = "home.py"
CHECKPOINTS = "checkpoints.py"
CONSTRUCT = "construct.py"
WATCH = "watch.py"
ANCHORS = "anchors.py"
COMPARE = "compare.py"
LANDSCAPE = "landscape.py"
PLAYGROUND = "playground.py"
SPEED = "speed.py"

PAGES = (  # script, title, icon, help
    (HOME, "Home", ":material/home:", "What this is, and the runs so far"),
    (CHECKPOINTS, "Checkpoints", ":material/deployed_code:", "The task vectors of a zoo of checkpoints"),
    (CONSTRUCT, "Construct", ":material/tune:", "Choose settings and start a run"),
    (WATCH, "Watch", ":material/monitoring:", "Follow a run as it happens"),
    (ANCHORS, "Anchors", ":material/anchor:", "The finished anchors: spectrum, alignment, nearest real inputs"),
    (COMPARE, "Compare", ":material/leaderboard:", "Merging methods side by side"),
    (LANDSCAPE, "Landscape", ":material/landscape:", "Loss over a plane of weights, and the paths through it"),
    (PLAYGROUND, "Playground", ":material/science:", "Anchors of one linear layer, computed as you drag"),
    (SPEED, "Speed", ":material/speed:", "Benchmarks of this machine, beside plain implementations"),
)
