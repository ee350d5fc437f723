package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

func TestFaultsAreComplete(t *testing.T) {
	w := listOnly()
	seen := map[string]bool{}
	for _, f := range append(w.faults(), w.pairs()...) {
		if seen[f.Name] {
			t.Errorf("two faults are named %q", f.Name)
		}
		seen[f.Name] = true
		if f.Description == "" || f.Inject == nil || f.Healed == nil || f.Settled == nil || f.Timeout == 0 {
			t.Errorf("%s lacks Description, Inject, Healed, Settled or Timeout", f.Name)
		}
		// A counter would already show the fault the second time.
		if strings.Contains(f.Metric, "_total") && f.Count == "" {
			t.Errorf("%s: %s is a counter, which belongs to Rises", f.Name, f.Metric)
		}
	}
	todo, err := w.chosen(options{})
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

func TestOnlySelectsByName(t *testing.T) {
	w := listOnly()
	todo, err := w.chosen(options{only: []string{"disk full", "DNS dead + unhealthy container"}})
	if err != nil || len(todo) != 2 {
		t.Errorf("%d faults, %v", len(todo), err)
	}
	if _, err := w.chosen(options{only: []string{"nothing"}}); err == nil || !strings.Contains(err.Error(), "--only=nothing") {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestResolverFailsOnDemand(t *testing.T) {
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
	r.failAtQueryFrom("10.0.0.1")
	if r.asked("10.0.0.2"); r.failing.Load() {
		t.Error("it failed after a query from another address")
	}
	r.asked("10.0.0.1")
	if a := ask(apiName + "."); a.RCode != dnsmessage.RCodeServerFailure || len(a.Answers) != 0 {
		t.Errorf("failing: %+v", a)
	}
	r.restore()
	if r.asked("10.0.0.1"); r.failing.Load() {
		t.Error("it failed again after restore")
	}
	if _, err := r.answer([]byte("garbage")); err == nil {
		t.Error("garbage was answered")
	}
}

// A dropped connection stays open and silent; a new one after restore works.
func TestLinkDropsConnections(t *testing.T) {
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
		t.Fatalf("before the cut: %v", err)
	}
	l.cut(allAddresses)
	if !silent(before) || !silent(connect()) {
		t.Error("cut: a connection passed data or was closed")
	}
	l.restore(allAddresses)
	if !silent(before) {
		t.Error("restored: the old connection works again")
	}
	if err := echoes(connect()); err != nil {
		t.Errorf("restored: %v", err)
	}
}

func TestReportListsFailures(t *testing.T) {
	good := newRow(scenario.Result{Fault: scenario.Fault{Name: "retry loop"}, Metric: time.Second, Alert: 2 * time.Second, Healed: 3 * time.Second}, 0, nil)
	bad := newRow(scenario.Result{Fault: scenario.Fault{Name: "disk full"}}, 1, errors.New("not healed"))
	lost := row{Fault: "V1 poll outage", Failed: notRun + "machine 2 ended"}
	o := options{markdown: filepath.Join(t.TempDir(), "md")}
	if err := report(t.Context(), o, []row{good}, time.Minute, io.Discard); err != nil {
		t.Error(err)
	}
	var out bytes.Buffer
	err := report(t.Context(), o, []row{good, bad, lost}, time.Minute, &out)
	if err == nil || !strings.Contains(err.Error(), "2 of 3") {
		t.Errorf("a failed fault: %v", err)
	}
	if !strings.Contains(out.String(), "FAILED") {
		t.Errorf("the table does not show it:\n%s", &out)
	}
	text, err := os.ReadFile(o.markdown)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| retry loop | 1.0 s | GhostrunnerRunnerRetryLoop | 2.0 s | restart ci-runner-1 | 3.0 s | 0 |", "| disk full | - | - | - | - | FAILED | 1 |",
		time.Now().UTC().Format("2006-01-02"), strconv.Itoa(runtime.NumCPU()) + " cores", "Not run: ", ", V1 poll outage, ",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestGrowthIsDetected(t *testing.T) {
	run := func(last float64) error {
		var samples []sample
		for range 9 {
			samples = append(samples, sample{"exporter memory": 30e6})
		}
		for i := 6; i < 9; i++ {
			samples[i] = sample{"exporter memory": last}
		}
		return checkGrowth(samples, io.Discard)
	}
	if err := run(34e6); err != nil {
		t.Error(err)
	}
	if err := run(60e6); err == nil || !strings.Contains(err.Error(), "exporter memory") {
		t.Errorf("twice the memory: %v", err)
	}
	if err := checkGrowth([]sample{{}}, io.Discard); err == nil {
		t.Error("one sample was accepted")
	}
}

// docs/proof.md is the output of a run, with this program's words, and has every fault, at least as
// not run.
func TestProofPageIsCurrent(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "proof.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range listed() {
		name := f.Name
		if !strings.Contains(string(text), "| "+name+" ") && !strings.Contains(string(text), name+", ") && !strings.Contains(string(text), name+".\n") {
			t.Errorf("docs/proof.md lacks %q: run it, or list it as not run", name)
		}
	}
	for line := range strings.Lines(proof) {
		if !strings.Contains(line, "{{") && !strings.Contains(string(text), line) {
			t.Errorf("docs/proof.md lacks a line of proof.md.tmpl: %s", line)
		}
	}
}
