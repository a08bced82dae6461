"""The paper, checked: each claim with what was found on each zoo, and how to find it again."""

import streamlit as st

from fda.escape import markdown
from fda.report.paper import INTRODUCTION, Claim, claims
from fda.ui import notices
from fda.ui.page import bar

BADGES = {
    "holds": ":green-badge[✓ holds: {}]",
    "holds in part": ":orange-badge[◐ holds in part: {}]",
    "does not hold": ":red-badge[✗ does not hold: {}]",
    "not tried": ":gray-badge[– not tried: {}]",
}

bar("Paper", "What the paper claims, what was found here, and the command that finds it again.", "paper")
with notices.noticed(stop=True):
    known = claims()


def label(claim: Claim) -> str:
    """The claim with a badge for each zoo."""
    badges = (BADGES[claim.verdict(zoo)].format(markdown(title.partition(",")[0])) for zoo, title in known.zoos.items())
    return f"{markdown(claim.claim)} {' '.join(badges)}"


st.markdown(INTRODUCTION)
for one in known.claims:
    with st.expander(label(one)):
        st.markdown(f"**Paper.** {markdown(one.paper)}.")
        for finding in one.found:
            where = markdown(known.zoos[finding.zoo])
            st.markdown(f"**{where}: {finding.verdict}.** {markdown(finding.numbers)}. Measured {finding.date}:")
            st.code(finding.command, language="bash", wrap_lines=True)
st.subheader("What reviewers asked", anchor=False)
for one in known.questions:
    with st.expander(markdown(one.question)):
        st.markdown(markdown(one.answer) + (f" Measured {one.date}:" if one.date else ""))
        if one.command:
            st.code(one.command, language="bash", wrap_lines=True)
