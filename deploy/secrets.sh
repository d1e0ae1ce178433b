#!/bin/sh
# Random secrets for docker-compose.yml, each in a file of its own: sh deploy/secrets.sh [FOLDER]
# What is there already stays as it is. The folder is for its owner alone; the files in it can be read by
# whoever they are handed to, because each container runs as a user of its own and sees only its own files.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"

word() { od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n'; }
read_word() { cat "$folder/$1"; }

write() { # NAME, and the text on standard input
    if [ -e "$folder/$1" ]; then
        return
    fi
    cat > "$folder/.$1"
    chmod 444 "$folder/.$1"
    mv "$folder/.$1" "$folder/$1"
    echo "made $folder/$1"
}

for name in broker_password catalog_password artifacts_key_id artifacts_secret_key metrics_token grafana_password; do
    word | write "$name"
done
printf 'hardpose:%s' "$(word)" | write flower_auth
# Prometheus may read; `admin` may do everything. Add a line for each person: NAME:ROLES:TOKEN.
printf 'prometheus:read:%s\nadmin:admin:%s\n' "$(read_word metrics_token)" "$(word)" | write api_tokens
printf '{"identities": [{"name": "hardpose", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}\n' \
    "$(read_word artifacts_key_id)" "$(read_word artifacts_secret_key)" | write s3_identities
