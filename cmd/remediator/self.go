package main

import (
	"os"
	"regexp"
)

// ownMount is the file of our own container that its engine mounts into it, wherever the engine's
// root is.
var ownMount = regexp.MustCompile(`/containers/([0-9a-f]{64})/(hostname|hosts|resolv\.conf) /etc/`)

// ownContainer returns the id of the container that this program runs in, by what is mounted; "" if
// it runs in none.
func ownContainer(mountinfo string) string {
	b, err := os.ReadFile(mountinfo)
	if err != nil {
		return ""
	}
	if m := ownMount.FindSubmatch(b); m != nil {
		return string(m[1])
	}
	return ""
}
