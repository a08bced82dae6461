"""The dashboard's server: `streamlit run app.py`. Visitors see pages/frame.py and the pages beside it."""

import streamlit as st
from starlette.middleware import Middleware

from fda.ui import feed, health
from fda.ui.guard import Guard
from fda.ui.logs import RequestLog
from fda.ui.preload import preload
from fda.ui.sign_in import SignIn

app = st.App(
    "pages/frame.py",
    lifespan=preload,
    routes=[feed.route(), health.route()],
    middleware=[Middleware(RequestLog), Middleware(Guard), Middleware(SignIn)],
)
