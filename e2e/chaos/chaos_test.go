package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// A fault is asked for by its name, and says what happens, how it ends and how that is seen.
func TestFaultsAreWhole(t *testing.T) {
	w := unplugged()
	seen := map[string]bool{}
	for _, f := range append(w.faults(), w.pairs()...) {
		if seen[f.Name] {
			t.Errorf("two are named %q", f.Name)
		}
		seen[f.Name] = true
		if f.Story == "" || f.Break == nil || f.Healed == nil || f.Settled == nil || f.Patience == 0 {
			t.Errorf("%s lacks its story, break, healed, settled or patience", f.Name)
		}
	}
	todo, err := w.chosen(options{pairs: true})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	list(todo, &out)
	for name := range seen {
		if !strings.Contains(out.String(), name) {
			t.Errorf("--list does not name %q", name)
		}
	}
}

func TestOnly(t *testing.T) {
	w := unplugged()
	todo, err := w.chosen(options{only: []string{"disk full", "DNS dead + unhealthy container"}})
	if err != nil || len(todo) != 2 {
		t.Errorf("%d faults, %v", len(todo), err)
	}
	if _, err := w.chosen(options{only: []string{"nothing"}}); err == nil || !strings.Contains(err.Error(), "--only=nothing") {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestResolver(t *testing.T) {
	var r resolver
	ask := func(name string) dnsmessage.Message {
		t.Helper()
		question := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}}}
		packet, err := question.Pack()
		if err != nil {
			t.Fatal(err)
		}
		packet, err = r.answer(packet)
		if err != nil {
			t.Fatal(err)
		}
		var answer dnsmessage.Message
		if err := answer.Unpack(packet); err != nil || answer.ID != 7 {
			t.Fatalf("%v, id %d", err, answer.ID)
		}
		return answer
	}
	if a := ask(apiName + "."); a.RCode != dnsmessage.RCodeSuccess || len(a.Answers) != 1 {
		t.Errorf("GitHub: %+v", a)
	}
	if a := ask("elsewhere.test."); a.RCode != dnsmessage.RCodeNameError {
		t.Errorf("another name: %+v", a)
	}
	r.dead.Store(true)
	if a := ask(apiName + "."); a.RCode != dnsmessage.RCodeServerFailure || len(a.Answers) != 0 {
		t.Errorf("dead: %+v", a)
	}
	if _, err := r.answer([]byte("garbage")); err == nil {
		t.Error("garbage was answered")
	}
}

// A connection that was lost stays open and silent; one that is made after mend works.
func TestLink(t *testing.T) {
	var lc net.ListenConfig
	server, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	l := newLink(t.Context(), server.Addr().String())
	connect := func() net.Conn {
		here, there := net.Pipe()
		go l.carry(there)
		t.Cleanup(func() { _ = here.Close() })
		return here
	}
	echoes := func(c net.Conn) error {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("?")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	silent := func(c net.Conn) bool {
		_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = c.Write([]byte("?"))
		_, err := c.Read(make([]byte, 1))
		var timeout net.Error
		return errors.As(err, &timeout) && timeout.Timeout()
	}
	before := connect()
	if err := echoes(before); err != nil {
		t.Fatalf("whole: %v", err)
	}
	l.cut()
	if !silent(before) || !silent(connect()) {
		t.Error("cut: something came through, or the end was told")
	}
	l.mend()
	if !silent(before) {
		t.Error("mended: the old connection is back")
	}
	if err := echoes(connect()); err != nil {
		t.Errorf("mended: %v", err)
	}
}

func TestReport(t *testing.T) {
	good := outcome{Result: scenario.Result{
		Fault:  scenario.Fault{Name: "a", Alert: alert("GhostrunnerX"), Action: restart(one)},
		Metric: time.Second, Alert: 2 * time.Second, Healed: 3 * time.Second,
	}}
	bad := outcome{Result: scenario.Result{Fault: scenario.Fault{Name: "b"}, Err: errors.New("not healed")}, Harmed: 1}
	var out bytes.Buffer
	if err := report(context.Background(), options{}, []outcome{good}, time.Minute, &out); err != nil {
		t.Error(err)
	}
	err := report(context.Background(), options{}, []outcome{good, bad}, time.Minute, &out)
	if err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("a broken promise: %v", err)
	}
	all, _ := rows([]outcome{good, bad})
	text := string(markdown(all, "about"))
	for _, want := range []string{"| a | 1.0 s | GhostrunnerX | 2.0 s | restart ci-runner-1 | 3.0 s | 0 |", "| b | - | - | - | - | BROKEN | 1 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Growth is found, and breathing is not taken for it.
func TestFlat(t *testing.T) {
	run := func(last float64) error {
		var sizes []sample
		for range 9 {
			sizes = append(sizes, sample{"exporter memory": 30e6})
		}
		for i := 6; i < 9; i++ {
			sizes[i] = sample{"exporter memory": last}
		}
		return flat(sizes, io.Discard)
	}
	if err := run(34e6); err != nil {
		t.Error(err)
	}
	if err := run(60e6); err == nil || !strings.Contains(err.Error(), "exporter memory") {
		t.Errorf("twice the memory: %v", err)
	}
	if err := flat([]sample{{}}, io.Discard); err == nil {
		t.Error("one sample proves nothing")
	}
}
