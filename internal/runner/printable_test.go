package runner

import (
	"strings"
	"testing"
)

func TestPrintable(t *testing.T) {
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"ci-runner-1", 64, "ci-runner-1"},
		{"a\x1b[31mb\nc", 64, "a\uFFFD[31mb\uFFFDc"},
		{"a\u202eb", 64, "a\uFFFDb"},
		{"\xff\xfe", 64, "\uFFFD"},
		{strings.Repeat("x", 20), 10, "xxxxxxx…"},
		{strings.Repeat("ä", 20), 10, "äää…"},
		{strings.Repeat("\x00", 20), 10, "\uFFFD\uFFFD…"},
	} {
		if got := Printable(c.in, c.limit); got != c.want {
			t.Errorf("Printable(%q, %d) = %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}
