package lab

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/beevik/ntp"
)

func TestNTPAnswers(t *testing.T) {
	b := newTestGitHub(t)
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewNTP(NTPOptions{LabURL: b.url}).Serve(ctx, conn) }()

	// A packet that is not a query is not answered and does no harm.
	junk, err := (&net.Dialer{}).DialContext(t.Context(), "udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer junk.Close()
	if _, err := junk.Write(make([]byte, 48)); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		value string
		ahead time.Duration
	}{{"3", 3 * time.Second}, {"-3", -3 * time.Second}, {"", 0}} {
		b.fault(faultClockOffset, c.value != "", c.value)
		var off time.Duration
		deadline := time.After(patience)
		for {
			resp, err := ntp.QueryWithOptions(conn.LocalAddr().String(), ntp.QueryOptions{Timeout: patience})
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Validate(); err != nil {
				t.Fatal(err)
			}
			off = resp.ClockOffset + c.ahead // the client's view: what it must add to its clock
			if off.Abs() < 500*time.Millisecond {
				break
			}
			select {
			case <-deadline:
				t.Fatalf("value %q: still %s off", c.value, off)
			default:
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
