# The dashboard with the embedded demo in a container, on port 7860: `docker build -t fda . && docker run -p 7860:7860 fda`.
# A public hub that builds Spaces from a repository takes it as it is: the head of README.md says so.
FROM python:3.11-slim

# The compiler is for the compiled step of construction.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 fda
USER fda
WORKDIR /home/fda/app
ENV PATH=/home/fda/.local/bin:$PATH

# Without a GPU torch's CPU build does, which is a tenth of the other in size.
COPY --chown=fda requirements.txt .
RUN pip install --user --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
COPY --chown=fda . .

# Visitors read nothing but the demo and what they made; the hub may show the demo in a frame of its own page.
ENV FDA_HOME=/home/fda/data
ENV FDA_MODEL_ROOTS=/home/fda/data
ENV FDA_LOG=json
ENV FDA_FRAMED_BY=https://huggingface.co

EXPOSE 7860
HEALTHCHECK CMD python -c "import urllib.request; urllib.request.urlopen('http://localhost:7860/health')"
# A Space is told its own name in SPACE_HOST; the dashboard answers to that name and to localhost.
CMD exec python -m streamlit run app.py --server.address 0.0.0.0 --server.port 7860 --server.headless true --server.allowedHosts localhost --server.allowedHosts "${SPACE_HOST:-localhost}"
