package slots_test

import (
	"testing"

	"github.com/blueguy23/ghostrunner/internal/lab"
)

// The image has what workflows expect, for the user who runs them.
func TestImageHasExpectedTools(t *testing.T) {
	const script = `
test "$(id -un)" = runner
for program in git curl jq unzip zstd xz ssh node npm npx corepack pnpm yarn docker; do command -v $program >/dev/null || { echo "no $program"; exit 1; }; done
case $(node --version) in v22.*) ;; *) echo "node is $(node --version)"; exit 1 ;; esac
docker compose version && docker buildx version
git init --quiet . && git -c user.name=a -c user.email=a@b commit --quiet --allow-empty -m first
for cache in "$PLAYWRIGHT_BROWSERS_PATH" "$npm_config_store_dir" "$pnpm_config_store_dir" "$COREPACK_HOME"; do mkdir -p "$cache"; test -w "$cache"; done
libraries=$(/sbin/ldconfig -p)
for library in libnss3.so libnspr4.so libatk-1.0.so.0 libatk-bridge-2.0.so.0 libcups.so.2 libdrm.so.2 libgbm.so.1 libxkbcommon.so.0 \
    libasound.so.2 libpango-1.0.so.0 libcairo.so.2 libXcomposite.so.1 libXdamage.so.1 libXfixes.so.3 libXrandr.so.2 libdbus-1.so.3 \
    libatspi.so.0 libicuuc.so.72 libssl.so.3 libgssapi_krb5.so.2; do
  grep -qF "$library" <<<"$libraries" || { echo "no $library"; exit 1; } # no pipe: grep ends at the first match, which pipefail would report
done
test "$PWD" = /actions-runner/_work/lab/lab
! [ -w /usr/local/bin ] && ! [ -w /actions-runner/bin ]
! [ "$(find / -xdev -name 'actions-runner*.tar.gz' 2>/dev/null)" ]
`
	job := awaitCompleted(t, enqueue(t, lab.JobRequest{Name: "image", Runner: slots[0], Script: script}).ID)
	if job.Result != "Succeeded" {
		logs, _ := system.Docker(t.Context(), "logs", "--tail=60", system.Container(slots[0]))
		t.Errorf("a job misses something in the image:\n%s", logs)
	}
}
