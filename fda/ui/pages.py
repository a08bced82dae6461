"""The pages there are: their scripts, seen from pages/frame.py, which puts them into its navigation."""

HOME = "home.py"
CHECKPOINTS = "checkpoints.py"
CONSTRUCT = "construct.py"
WATCH = "watch.py"
ANCHORS = "anchors.py"
COMPARE = "compare.py"
LANDSCAPE = "landscape.py"
PLAYGROUND = "playground.py"
SPEED = "speed.py"

PAGES = (  # script, title, icon, what it is for
    (HOME, "Home", ":material/home:", "What this is, and the runs so far"),
    (CHECKPOINTS, "Checkpoints", ":material/deployed_code:", "What is in a zoo of checkpoints"),
    (CONSTRUCT, "Construct", ":material/tune:", "Choose settings and start a run"),
    (WATCH, "Watch", ":material/monitoring:", "A run as it happens"),
    (ANCHORS, "Anchors", ":material/anchor:", "What the anchors became, and which real inputs they are near"),
    (COMPARE, "Compare", ":material/leaderboard:", "Merging methods side by side"),
    (LANDSCAPE, "Landscape", ":material/landscape:", "Loss over a plane of weights, and the paths through it"),
    (PLAYGROUND, "Playground", ":material/science:", "Anchors of one linear layer, while you watch"),
    (SPEED, "Speed", ":material/speed:", "What was measured on this machine, beside the plain way"),
)
