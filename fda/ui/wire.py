"""What goes over the socket between a page and its server, as far as measuring needs to know it."""

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg


def asks_for_update(frame: bytes) -> bool:
    """Whether the browser asks here for a fragment of the page to run again."""
    message = BackMsg.FromString(frame)
    return message.WhichOneof("type") == "rerun_script" and bool(message.rerun_script.fragment_id)


def ends_answer(frame: bytes) -> bool:
    """Whether the server says here that the script has run to its end."""
    return ForwardMsg.FromString(frame).WhichOneof("type") == "script_finished"
