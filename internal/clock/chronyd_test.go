package clock

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// ntpServer is an SNTP server whose clock is off by an adjustable amount.
type ntpServer struct {
	addr  string
	port  int
	ahead atomic.Int64  // time.Duration that the server's clock is ahead of ours
	leap  atomic.Uint32 // leap indicator; 3 is "not synchronized"
	kiss  atomic.Bool   // answer with a kiss of death
	asked atomic.Int64
}

func newNTPServer(t testing.TB, ahead time.Duration) *ntpServer {
	t.Helper()
	conn := listenUDP(t)
	s := &ntpServer{addr: conn.LocalAddr().String(), port: conn.LocalAddr().(*net.UDPAddr).Port}
	s.ahead.Store(int64(ahead))
	go func() {
		buf := make([]byte, 1024)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n >= 48 {
				s.asked.Add(1)
				_, _ = conn.WriteTo(s.answer(buf[:48]), from)
			}
		}
	}()
	return s
}

// listenUDP takes a free port of the loopback until the test ends.
func listenUDP(t testing.TB) net.PacketConn {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answer is an answer of RFC 5905 in mode 4 from a primary server.
func (s *ntpServer) answer(question []byte) []byte {
	const epoch = 2208988800 // 1900 to 1970
	now := time.Now().Add(time.Duration(s.ahead.Load()))
	stamp := func(b []byte, t time.Time) {
		binary.BigEndian.PutUint32(b, uint32(t.Unix()+epoch))
		binary.BigEndian.PutUint32(b[4:], uint32(uint64(t.Nanosecond())<<32/uint64(time.Second)))
	}
	a := make([]byte, 48)
	a[0] = byte(s.leap.Load())<<6 | question[0]&0x38 | 4
	a[1], a[2], a[3] = 1, question[2], 0xEC // stratum, poll, precision 2^-20
	copy(a[12:], "TEST")
	if s.kiss.Load() {
		a[1] = 0
		copy(a[12:], "RATE")
	}
	stamp(a[16:], now.Add(-time.Second))
	copy(a[24:32], question[40:48])
	stamp(a[32:], now)
	stamp(a[40:], now)
	return a
}

// startChronyd runs a real chronyd that never touches the clock (-x) and returns its command
// address.
func startChronyd(t *testing.T, config string) (address string, stop func()) {
	t.Helper()
	path, err := exec.LookPath("chronyd")
	if err != nil {
		if path = "/usr/sbin/chronyd"; !exists(path) {
			t.Fatal("chronyd is needed for this test and is not installed; on Debian and Ubuntu: apt-get install chrony")
		}
	}
	address, port := fixedPort(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "chrony.conf")
	text := strings.Join([]string{
		"cmdport " + strconv.Itoa(port), "bindcmdaddress 127.0.0.1", "bindcmdaddress /", "port 0",
		"pidfile " + filepath.Join(dir, "chronyd.pid"), "driftfile " + filepath.Join(dir, "drift"), config,
	}, "\n")
	if err := os.WriteFile(conf, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-x", "-d", "-f", conf}
	if os.Geteuid() == 0 {
		args = append(args, "-u", "root")
	} else {
		args = append(args, "-U")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	done := false
	stop = func() {
		if !done {
			done = true
			cancel()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Log("chronyd:\n" + out.String())
		}
	})
	return address, stop
}

// fixedPort finds a free UDP port of the loopback below those that the kernel assigns
// (ip_local_port_range). chronyd cannot be given a socket, and 0 means none.
func fixedPort(t *testing.T) (address string, port int) {
	t.Helper()
	for range 100 {
		port = 12000 + rand.IntN(20000)
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", address); err == nil {
			_ = conn.Close()
			return address, port
		}
	}
	t.Fatal("no free UDP port from 12000 to 31999")
	return "", 0
}

// waitLimit is how long a test waits for something that takes much less time. tolerance is how much
// a busy machine, which answers late, may change an offset of 3 s.
const (
	waitLimit = 2 * time.Minute
	tolerance = time.Second
)

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// until repeats the request until the sample is as wanted, and returns it.
func until(t *testing.T, what string, query func(context.Context) (runner.ClockSample, error), want func(runner.ClockSample, error) bool) runner.ClockSample {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		s, err := query(ctx)
		if want(s, err) {
			return s
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: still %+v, %v", what, s, err)
		case <-ticker.C:
		}
	}
}

func tracking(address string) func(context.Context) (runner.ClockSample, error) {
	return func(ctx context.Context) (runner.ClockSample, error) { return queryChrony(ctx, address, time.Second) }
}

func answers(_ runner.ClockSample, err error) bool { return err == nil }

func TestChronydNeverSynchronized(t *testing.T) {
	address, _ := startChronyd(t, "")
	s := until(t, "answer", tracking(address), answers)
	if s.HasOffset || s.Synchronized || !s.SynchronizedKnown || s.Offset != 0 || s.At.IsZero() || s.Source != SourceChrony {
		t.Errorf("%+v", s)
	}
}

func TestChronydLocal(t *testing.T) {
	address, _ := startChronyd(t, "local stratum 10")
	// It starts as merely unsynchronized and falls back to its own clock then.
	until(t, "local reference", func(ctx context.Context) (runner.ClockSample, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "udp", address)
		if err != nil {
			return runner.ClockSample{}, err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return runner.ClockSample{}, err
		}
		raw, err := exchange(conn)
		if err != nil {
			return runner.ClockSample{}, err
		}
		if raw.RefID != refIDLocal || raw.LeapStatus != 0 {
			return runner.ClockSample{}, fmt.Errorf("reference %08X, leap status %d", raw.RefID, raw.LeapStatus)
		}
		return chronySample(raw)
	}, answers)
	s := until(t, "answer", tracking(address), answers)
	if s.HasOffset || s.Synchronized || !s.SynchronizedKnown {
		t.Errorf("%+v", s)
	}
}

// chronyd follows a server that is 3 s off, in both directions. If the server is ahead, the local
// clock is behind: a negative offset.
func TestChronydOffset(t *testing.T) {
	for _, ahead := range []time.Duration{3 * time.Second, -3 * time.Second} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			server := newNTPServer(t, ahead)
			address, _ := startChronyd(t, fmt.Sprintf("server 127.0.0.1 port %d minpoll -2 maxpoll -2 iburst", server.port))
			s := until(t, "offset", tracking(address), func(s runner.ClockSample, err error) bool { return err == nil && s.HasOffset })
			if d := (s.Offset + ahead).Abs(); d > tolerance || !s.Synchronized || !s.SynchronizedKnown {
				t.Errorf("%+v; want an offset of about %v", s, -ahead)
			}
		})
	}
}
