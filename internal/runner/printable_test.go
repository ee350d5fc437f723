package runner

import "testing"

func TestPrintable(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"plain", "plain"},
		{" a\nb\t", "a b"},
		{"\x1b[31mx\u202e", "[31mx"},
		{"\xff", "?"},
		{"äöüäöüäöü", "äöüäöüäö…"},
		{"", ""},
	} {
		if got := Printable(tc.text, 8); got != tc.want {
			t.Errorf("Printable(%q) = %q, want %q", tc.text, got, tc.want)
		}
	}
}
