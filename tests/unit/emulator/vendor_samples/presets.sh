#!/usr/bin/env bash
# Presets: presets.sh BASE_URL KEY list | upload NAME FILE | download ID TARGET | delete ID
set -euo pipefail

base=$1 key=$2 command=$3
shift 3

ask() {
    curl --silent --show-error -H "X-API-KEY: $key" "$@"
}

case $command in
    list)
        ask "$base/presets?limit=30" | jq -r '.presets[] | "\(.presetId) \(.name)"'
        ;;
    upload)
        metadata=$(jq --null-input --arg name "$1" '{name: $name, description: "by a script"}')
        made=$(ask -X POST -H "Content-Type: application/json" -d "$metadata" "$base/presets/")
        if jq --exit-status 'has("error")' <<<"$made" >/dev/null; then
            jq -r .error <<<"$made" >&2
            exit 1
        fi
        curl --silent --show-error --fail -X PUT --upload-file "$2" "$(jq -r .uploadUrl <<<"$made")"
        jq -r .presetId <<<"$made"
        ;;
    download)
        curl --silent --show-error --fail --output "$2" "$(ask "$base/presets/$1" | jq -r .uri)"
        ;;
    delete)
        answer=$(ask --fail -X DELETE "$base/presets/$1")
        jq -r '.message // .' <<<"$answer" 2>/dev/null || echo "$answer"
        ;;
esac
