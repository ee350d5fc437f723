# The next job searches for what the hostile one left. Only the caches may have something.
set +e
bad=
found() { bad=1; echo "FOUND $*"; }
for file in $(find / -name evil -not -path '/proc/*' -not -path '/sys/*' 2>/dev/null); do
  case $file in /var/cache/ghostrunner/*) ;; *) found "$file" ;; esac
done
[ -e /var/cache/ghostrunner/pnpm/evil ] || found "that a cache was emptied"
[ -e /var/cache/ghostrunner/playwright/evil ] || found "that a cache was emptied"
for process in /proc/[0-9]*; do
  tr '\0' ' ' 2>/dev/null <"$process/cmdline" | grep -q '5432[12]' && found "a process of the last job: $process"
done
[ "$EVIL" ] && found "an environment that the last job made"
[ -e /actions-runner/.env ] && found "/actions-runner/.env"
[ -e ~/.bashrc ] && found "a start file of a shell"
[ -e ~/.docker/cli-plugins ] && found "a plugin of docker"

# It has its own home, and a login to Docker Hub that only it can read.
[ "$HOME" = /actions-runner/_home ] && [ -w "$HOME" ] || found "that its home is $HOME"
[ "$(stat -c %a:%u ~/.docker/config.json)" = 600:1001 ] || found "a login with $(stat -c %a:%u ~/.docker/config.json)"
[ "$(jq -r '.auths["https://index.docker.io/v1/"].auth' ~/.docker/config.json | base64 -d)" = octo:dckr_pat_of_the_lab ] || found "another login"
