package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOwnContainer(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for name, c := range map[string]struct{ mountinfo, want string }{
		"Docker": {"680 664 0:29 / /sys ro,nosuid - sysfs sysfs ro\n" +
			"682 662 8:1 /var/lib/docker/containers/" + id + "/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/sda1 rw\n", id},
		"Docker with another root":   {"682 662 8:1 /data/containers/" + id + "/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw\n", id},
		"the containers of the host": {"682 662 8:1 /var/lib/docker/containers/" + id + "/mounts/shm /dev/shm rw - tmpfs shm rw\n", ""},
		"no container":               {"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n", ""},
		"empty":                      {"", ""},
	} {
		path := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(path, []byte(c.mountinfo), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := ownContainer(path); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := ownContainer(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("without /proc: %q", got)
	}
}
