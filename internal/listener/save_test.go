package listener

import "testing"

// Another process goes on in the middle of an outage, between its line and one that came in the wrong order.
func TestRestoreWithinAnOutage(t *testing.T) {
	one := NewFleet(t0)
	for _, line := range []string{connected, retry} {
		one.Line("ci-1", second(5), []byte(line))
	}
	saved, err := one.Save()
	if err != nil {
		t.Fatal(err)
	}
	two := NewFleet(t0)
	if err := two.Restore(saved); err != nil {
		t.Fatal(err)
	}
	two.Line("ci-1", second(5), []byte(listening))
	if s := two.Slots(); len(s) != 1 || !s[0].State.Retrying || s[0].Counts.RetryLoopMatches != 1 || s[0].Counts.LogLines != 3 {
		t.Errorf("the other process knows %+v", s)
	}
}
