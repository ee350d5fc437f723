package cli

import (
	"strings"
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	for _, c := range []struct {
		window string
		at     string // RFC 3339
		open   bool
		next   string // when it opens, where it is shut
	}{
		{"", "2026-11-25T12:00:00Z", true, ""},
		{"22:00-06:00", "2026-11-25T21:59:59Z", false, "2026-11-25T22:00:00Z"},
		{"22:00-06:00", "2026-11-25T22:00:00Z", true, ""},
		{"22:00-06:00", "2026-11-26T05:59:59Z", true, ""},
		{"22:00-06:00", "2026-11-26T06:00:00Z", false, "2026-11-26T22:00:00Z"},
		{"Wed 00:00-24:00", "2026-11-25T23:59:59Z", true, ""},
		{"Wed 00:00-24:00", "2026-11-26T00:00:00Z", false, "2026-12-02T00:00:00Z"},
		{"00:00-24:00", "2026-11-26T00:00:00Z", true, ""},
		// A span belongs to the day on which it begins.
		{"Fri 22:00-06:00", "2026-11-28T05:00:00Z", true, ""},
		{"Fri 22:00-06:00", "2026-11-27T05:00:00Z", false, "2026-11-27T22:00:00Z"},
		{"Sat-Mon,Thu 10:00-12:00", "2026-11-29T10:00:00Z", true, ""},                                              // a Sunday
		{"Sat-Mon,Thu 10:00-12:00", "2026-11-26T11:00:00Z", true, ""},                                              // a Thursday
		{"sat-mon,thu 10:00-12:00", "2026-11-27T11:00:00Z", false, ""},                                             // a Friday
		{"Mon-Fri 22:00-06:00 Europe/Berlin; Sat,Sun 00:00-24:00 Europe/Berlin", "2026-11-25T21:30:00Z", true, ""}, // 22:30 there
		{"Mon-Fri 22:00-06:00 Europe/Berlin; Sat,Sun 00:00-24:00 Europe/Berlin", "2026-11-25T20:30:00Z", false, "2026-11-25T21:00:00Z"},
		{"Mon-Fri 22:00-06:00 Europe/Berlin; Sat,Sun 00:00-24:00 Europe/Berlin", "2026-11-28T12:00:00Z", true, ""},
		{"Mon 09:00-17:00 America/New_York", "2026-11-23T14:00:00Z", true, ""},
		{"Mon 09:00-17:00 America/New_York", "2026-11-23T13:59:00Z", false, "2026-11-23T14:00:00Z"},
		// Spring: clocks in Berlin go from 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
		{"02:30-03:30 Europe/Berlin", "2026-03-29T00:59:59Z", false, ""}, // 01:59:59
		{"02:30-03:30 Europe/Berlin", "2026-03-29T01:00:00Z", true, ""},  // 03:00
		{"02:30-03:30 Europe/Berlin", "2026-03-29T01:30:00Z", false, ""}, // 03:30
		{"02:15-02:45 Europe/Berlin", "2026-03-29T00:59:00Z", false, "2026-03-30T00:15:00Z"},
		{"22:00-06:00 Europe/Berlin", "2026-03-29T03:59:00Z", true, ""},
		{"22:00-06:00 Europe/Berlin", "2026-03-29T04:00:00Z", false, "2026-03-29T20:00:00Z"},
		// Autumn: from 03:00 back to 02:00 on 25 October 2026, at 01:00 UTC. The hour comes twice.
		{"02:00-03:00 Europe/Berlin", "2026-10-25T00:30:00Z", true, ""},
		{"02:00-03:00 Europe/Berlin", "2026-10-25T01:30:00Z", true, ""},
		{"02:00-03:00 Europe/Berlin", "2026-10-25T02:00:00Z", false, "2026-10-26T01:00:00Z"},
	} {
		w, err := ParseWindow(c.window)
		if err != nil {
			t.Errorf("%q: %v", c.window, err)
			continue
		}
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Open(at); got != c.open {
			t.Errorf("%q at %s: open %t", c.window, c.at, got)
		}
		if c.open {
			continue
		}
		next := w.Next(at)
		if got := next.UTC().Format(time.RFC3339); c.next != "" && got != c.next {
			t.Errorf("%q at %s: opens %s, want %s", c.window, c.at, got, c.next)
		}
		if !next.After(at) || !w.Open(next) {
			t.Errorf("%q at %s: opens %s, and is not open then", c.window, c.at, next)
		}
	}
}

func TestBadWindows(t *testing.T) {
	for text, says := range map[string]string{
		"always":                       `day "always"`,
		"Mon":                          "want spans",
		"Mon 10:00":                    `hours "10:00"`,
		"Mo 10:00-12:00":               `day "Mo"`,
		"10:00-12:00 Mars/Olympus":     `time zone "Mars/Olympus"`,
		"10:00-12:00 Local":            `time zone "Local"`, // whose? that of a container is UTC
		"10:00-12:00 Europe/Berlin x":  "want spans",
		"10:00-10:00":                  "00:00-24:00",
		"24:00-10:00":                  "24:00",
		"9:00-10:00":                   `time "9:00"`,
		"10:00-25:00":                  `time "25:00"`,
		"10:60-12:00":                  `time "10:60"`,
		"10:00-12:00;":                 "want spans",
		"10:00-12:00 ../../etc/passwd": "time zone",
	} {
		if _, err := ParseWindow(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %s", text, err, says)
		}
	}
}

func FuzzParseWindow(f *testing.F) {
	for _, seed := range []string{"", "Mon-Fri 22:00-06:00 Europe/Berlin; Sat,Sun 00:00-24:00", "24:00-00:00", ";;", "Sun-Sat 00:00-00:01 UTC"} {
		f.Add(seed, int64(1_764_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		w, err := ParseWindow(text)
		if err != nil || unix < 0 || unix > 4e9 {
			return
		}
		now := time.Unix(unix, 0)
		if !w.Open(now) && !w.Open(w.Next(now)) {
			t.Errorf("%q is shut at %s, and opens %s, when it is not open", text, now, w.Next(now))
		}
	})
}
