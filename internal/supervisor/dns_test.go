package supervisor

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers on port 53 of a loopback address.
type nameServer struct {
	addr netip.Addr
	code atomic.Int32 // a response code, or silence
}

const silence = -1

func newNameServer(t *testing.T, addr string, code dnsmessage.RCode) *nameServer {
	t.Helper()
	s := &nameServer{addr: netip.MustParseAddr(addr)}
	s.code.Store(int32(code))
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", addr+":53")
	if err != nil {
		t.Fatal("this test serves names on a loopback address: run it as root: ", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if code := s.code.Load(); code != silence && m.Unpack(buf[:n]) == nil && len(m.Questions) == 1 {
				m.Response, m.RCode, m.Additionals = true, dnsmessage.RCode(code), nil
				if m.RCode == dnsmessage.RCodeSuccess {
					m.Answers = []dnsmessage.Resource{{
						Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 1},
						Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
					}}
				}
				if answer, err := m.Pack(); err == nil {
					_, _ = conn.WriteTo(answer, from)
				}
			}
		}
	}()
	return s
}

// TestFallbackNameServers uses real servers, and a resolv.conf that is a bind mount, as Docker
// makes it.
func TestFallbackNameServers(t *testing.T) {
	first := newNameServer(t, "127.53.0.1", dnsmessage.RCodeSuccess)
	second := newNameServer(t, "127.53.0.2", dnsmessage.RCodeSuccess)
	const before = "# made by Docker\nsearch lan\nnameserver 127.53.0.1\noptions ndots:0" // without an end of line
	host, path := filepath.Join(t.TempDir(), "host"), filepath.Join(t.TempDir(), "resolv.conf")
	for _, name := range []string{host, path} {
		if err := os.WriteFile(name, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, host, path, "", 0x1000) // MS_BIND

	log := newRecord()
	d := &dnsFallback{path: path, hostnames: []string{"api.github.test", "broker.github.test"}, servers: []netip.Addr{second.addr},
		logger: slog.New(slog.NewTextHandler(log, nil)), lookup: lookupAt}
	const with = before + "\n" + fallbackBegin + "nameserver 127.53.0.2\n" + fallbackEnd
	step := func(what string, ready bool, want string) {
		t.Helper()
		if err := d.check(t.Context()); (err == nil) != ready {
			t.Errorf("%s: %v", what, err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s: %v, %q", what, err, got)
		}
	}
	step("all is well", true, before)
	first.code.Store(int32(dnsmessage.RCodeServerFailure)) // Docker's server answers so if it reaches no other
	step("the first one fails", true, with)
	step("it still fails", true, with)
	first.code.Store(int32(dnsmessage.RCodeNameError)) // after which resolvers ask no other server
	step("the first one says no", false, with)
	first.code.Store(silence)
	second.code.Store(int32(dnsmessage.RCodeRefused))
	step("no answer", false, with)
	second.code.Store(int32(dnsmessage.RCodeSuccess))
	step("the second one answers", true, with)
	first.code.Store(int32(dnsmessage.RCodeSuccess))
	step("the first one answers once", true, with)
	first.code.Store(int32(dnsmessage.RCodeServerFailure))
	step("it flaps", true, with)
	first.code.Store(int32(dnsmessage.RCodeSuccess))
	step("it answers once more", true, with)
	step("it answers twice in a row", true, before+"\n")
	if got := log.String(); strings.Count(got, "change=\"added") != 1 || strings.Count(got, "change=\"removed") != 1 {
		t.Errorf("log:\n%s", got)
	}

	// A container that was killed starts again with our lines, and another network has added its
	// server.
	if err := os.WriteFile(path, []byte(with+"nameserver 127.53.0.9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.successes = 1
	step("found", true, before+"\nnameserver 127.53.0.9\n")
}

func TestFallbackKeepsToThreeServers(t *testing.T) {
	const three = "nameserver 127.53.1.1\nnameserver 127.53.1.2\nnameserver 127.53.1.3\n"
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(three), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &dnsFallback{path: path, hostnames: []string{"api.github.test"}, servers: []netip.Addr{netip.MustParseAddr("127.53.1.4")}, logger: slog.New(slog.DiscardHandler),
		lookup: func(context.Context, netip.Addr, string) error { return context.DeadlineExceeded }}
	if err := d.check(t.Context()); err == nil || !strings.Contains(err.Error(), "no room for a fallback") {
		t.Errorf("check: %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != three {
		t.Errorf("resolv.conf: %q", got)
	}
}

// No registration is made before GitHub's names resolve. A slot that waits for them for long is
// unhealthy, because a restarted container gets the host's new name servers.
func TestNoRegistrationWithoutNames(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		start, first := time.Now(), time.Duration(0)
		github := &fakeGitHub{onJIT: func(string) error {
			if first == 0 {
				first = time.Since(start)
			}
			return errToken
		}}
		log := newRecord()
		s := New(Config{
			Slot: "s", Root: root, UID: testUID, GID: testGID, StateFile: root + "/state", Registrar: github,
			Hostnames: []string{"api.github.test"}, ResolvConf: path,
			Stdout: newRecord(), Stderr: newRecord(), Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
		s.dns.lookup = func(context.Context, netip.Addr, string) error {
			if time.Since(start) < 10*time.Minute {
				return context.DeadlineExceeded
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+30*time.Second)
		defer cancel()
		go func() {
			for _, at := range []struct {
				after   time.Duration
				healthy bool
			}{{4 * time.Minute, true}, {6 * time.Minute, false}} {
				<-time.After(at.after - time.Since(start))
				if healthy, why := Health(root+"/state", root, time.Now()); healthy != at.healthy || !strings.Contains(why, CauseNames) {
					t.Errorf("health after %v: %v, %q", at.after, healthy, why)
				}
			}
		}()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if first < 10*time.Minute || first > 10*time.Minute+5*time.Second {
			t.Errorf("first registration after %v", first)
		}
		if n := strings.Count(log.String(), "msg=Waiting cause=names_unresolved"); n != 10 {
			t.Errorf("%d lines in 10 min\n%s", n, log)
		}
	})
}
