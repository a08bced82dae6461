"""Messages of Streamlit's websocket, `/_stcore/stream`, for a visitor that is no browser."""

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg


def run_page(page: str, query: str) -> bytes:
    """The message that has the script of a page run: `page` is its path without the slash, `query` as in its URL."""
    message = BackMsg()
    message.rerun_script.page_name = page
    message.rerun_script.query_string = query
    return message.SerializeToString()


def ends_script(message: bytes) -> bool:
    """Whether the server says by this message that the script has run."""
    return ForwardMsg.FromString(message).WhichOneof("type") == "script_finished"
