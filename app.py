"""The dashboard: `streamlit run app.py`. The frame and navigation; everything else is in pages/."""

from fda.ui import frame

frame.run()
