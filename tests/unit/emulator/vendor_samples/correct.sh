#!/usr/bin/env bash
# Correct one picture: correct.sh BASE_URL KEY SOURCE TARGET [QUERY]
# An existing fileKey is taken in place of a file. Prints the final status as JSON.
set -euo pipefail

base=$1 key=$2 source=$3 target=$4 query=${5:-}

if [[ -f $source ]]; then
    slot=$(curl --silent --show-error -H "X-API-KEY: $key" "$base/upload")
    file_key=$(jq -r .fileKey <<<"$slot")
    # No content type of our own: the signature would not cover it.
    curl --silent --show-error --fail --upload-file "$source" "$(jq -r .upload_url <<<"$slot")"
else
    file_key=$source
fi

started=$(curl --silent --show-error -H "X-API-KEY: $key" "$base/pfc?fileKey=$file_key${query:+&$query}")
endpoint=$(jq -r '.statusEndpoint // empty' <<<"$started")
if [[ -z $endpoint ]]; then
    echo "refused: $started" >&2
    exit 1
fi

while true; do
    view=$(curl --silent --show-error "$endpoint?noRedirect=true")
    case $(jq -r .status <<<"$view") in
        COMPLETED) break ;;
        FAILED | REJECTED)
            jq -r '"\(.status): \(.statusText)"' <<<"$view" >&2
            exit 2
            ;;
        *) sleep 0.05 ;;
    esac
done

curl --silent --show-error --fail --location --output "$target" "$endpoint"
jq --compact-output --arg file_key "$file_key" '. + {fileKey: $file_key}' <<<"$view"
