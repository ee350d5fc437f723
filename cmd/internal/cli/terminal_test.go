package cli

import (
	"strings"
	"testing"
	"unicode"
)

func TestTable(t *testing.T) {
	var b strings.Builder
	err := Table{
		Heading: []string{"NAME", "STATE", "DETAIL"},
		Rows:    [][]string{{"ä-long-name", "ok", "two\nlines\tand \x1b[31mred\u202e"}, {"b", "", "x"}},
		Colors:  map[string]Color{"ok": Green}, // not for what is no terminal
	}.Print(&b)
	const want = "NAME         STATE  DETAIL\nä-long-name  ok     two; lines and \uFFFD[31mred\uFFFD\nb            -      x\n"
	if err != nil || b.String() != want {
		t.Errorf("%v\n%q, want\n%q", err, b.String(), want)
	}
}

func TestPaint(t *testing.T) {
	if got := Painter(true).Paint(Red, "x"); got != "\x1b[1;31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := Painter(true).Paint("", "x") + Painter(false).Paint(Red, "x"); got != "xx" {
		t.Errorf("%q", got)
	}
}

func FuzzOneLine(f *testing.F) {
	for _, s := range []string{"plain", "a\nb", "\x1b]0;title\x07", "\u202eevil", "\xff\xfe", strings.Repeat("ä", 2*maxText), "\u0085\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := OneLine(s)
		if len([]rune(got)) > maxText+1 || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", got)
		}
	})
}
