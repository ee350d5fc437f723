#!/bin/sh
# Unpacks the Actions runner: unpack.sh VERSION ARCHITECTURE FOLDER, with Docker's name of the
# architecture.
#
# A tarball beside this file is used without a check, like all of the build context. Otherwise the
# release is downloaded. Its SHA-256 must be the one in SHA256SUMS, or, for a version that is not
# there, the one that GitHub's API states.
set -eu
version=$1 folder=$3 here=$(dirname "$0")
fail() { echo "unpack.sh: $*" >&2; exit 1; }

case $2 in
amd64) arch=x64 ;;
arm64) arch=arm64 ;;
*) fail "the Actions runner is made for amd64 and arm64, not for $2" ;;
esac
case $version in
*[!0-9.]* | '' | v*) fail "RUNNER_VERSION=$version: want a version such as 2.336.0" ;;
esac

name=actions-runner-linux-$arch-$version.tar.gz
tarball=$here/actions-runner.tar.gz
if [ -f "$tarball" ]; then
	echo "unpack.sh: taking compose/runner/actions-runner.tar.gz"
else
	want=$(sed -n "s/^\([0-9a-f]\{64\}\)  $name\$/\1/p" "$here/SHA256SUMS")
	if [ -z "$want" ]; then
		release=$(curl -fsSL --retry 3 --max-time 60 "${RUNNER_API:-https://api.github.com/repos/actions/runner/releases/tags}/v$version") ||
			fail "GitHub does not say what $name should be: does version $version exist? If so, add its SHA-256 to compose/runner/SHA256SUMS"
		want=$(printf '%s' "$release" | jq -r --arg name "$name" '.assets[] | select(.name == $name).digest // empty | ltrimstr("sha256:")')
		[ -n "$want" ] || fail "GitHub states no SHA-256 of $name: add it to compose/runner/SHA256SUMS"
	fi
	tarball=$(mktemp)
	trap 'rm -f "$tarball"' EXIT
	curl -fsSL --retry 3 --connect-timeout 20 --speed-limit 1000 --speed-time 60 -o "$tarball" \
		"${RUNNER_DOWNLOAD:-https://github.com/actions/runner/releases/download}/v$version/$name" ||
		fail "cannot download $name: does version $version exist?"
	got=$(sha256sum "$tarball" | cut -d' ' -f1)
	[ "$got" = "$want" ] || fail "$name has SHA-256 $got, want $want"
fi
mkdir -p "$folder"
tar -xzf "$tarball" -C "$folder" --no-same-owner
[ -x "$folder/bin/Runner.Listener" ] || fail "no bin/Runner.Listener in it: this is not the Actions runner"
