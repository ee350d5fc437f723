package lab

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestService: answers, hangs until it is restarted, and a new process works although the switch is still on.
func TestService(t *testing.T) {
	b := newBench(t)
	start := func() (address string, stop func()) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s := NewService(ServiceOptions{LabURL: b.url})
		go func() { done <- s.Serve(ctx, l) }()
		return l.Addr().String(), func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	address, stop := start()
	deadline := time.Now().Add(patience)
	// The switch must not be older than the process's first look at it.
	tick := time.NewTicker(followEvery + 100*time.Millisecond)
	defer tick.Stop()
	<-tick.C
	if err := CheckService(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	b.fault(faultServiceHang, true, "")
	for CheckService(t.Context(), address) == nil {
		if time.Now().After(deadline) {
			t.Fatal("does not hang")
		}
		<-tick.C
	}
	stop()

	address, stop = start()
	defer stop()
	for range 3 {
		<-tick.C
		if err := CheckService(t.Context(), address); err != nil {
			t.Errorf("after a restart: %v", err)
		}
	}
	b.fault(faultServiceHang, false, "")
	if err := CheckService(t.Context(), "127.0.0.1:1"); err == nil {
		t.Error("a closed port passed the check")
	}
}
