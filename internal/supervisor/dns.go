package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// Bounds of asking for names.
const (
	lookupTimeout = 3 * time.Second
	maxServers    = 3                // of resolv.conf; the C library reads no more (resolv.conf(5), MAXNS)
	namesFresh    = 45 * time.Second // an answer that is younger need not be asked for again
	maxResolvConf = 64 << 10
)

// Our lines in resolv.conf stand between these two.
const (
	fallbackBegin = "# ghostrunner-runner begin: in use while the servers above do not answer\n"
	fallbackEnd   = "# ghostrunner-runner end\n"
)

// names sees to it that GitHub's names can be resolved in this container.
//
// While none of the name servers of resolv.conf gives them, as after a VPN has come or gone, fallback servers are appended; when one of
// the first answers again, twice in a row, they are taken away. They stand last, so Docker's own server, which alone knows the
// other containers, goes on being asked first. They help where the first ones are silent or fail, and not where one says that
// there is no such name: resolvers then ask nobody else, so that is not taken for a name that can be resolved.
//
// The file is a bind mount that Docker made, so it cannot be replaced, only written in place. It is never empty for a moment: our lines
// are appended by one write and cut off by one truncation.
type names struct {
	path     string
	wanted   []string // names; none: nothing is checked
	fallback []netip.Addr
	logger   *slog.Logger
	lookup   func(ctx context.Context, server netip.Addr, name string) error

	mu     sync.Mutex
	why    string // the names cannot be resolved; "" = they can
	at     time.Time
	sound  int  // how often in a row one of the first servers answered
	failed bool // to write the file, which was said already
}

// watch looks again and again, also while a listener runs: its own retries are cured by this too.
func (n *names) watch(ctx context.Context, every time.Duration) {
	for len(n.wanted) > 0 && sleep(ctx, every) {
		n.check(ctx)
	}
}

// ready returns why GitHub's names cannot be resolved, "" if they can.
func (n *names) ready(ctx context.Context) string {
	if n == nil || len(n.wanted) == 0 {
		return ""
	}
	n.mu.Lock()
	why, age := n.why, time.Since(n.at)
	n.mu.Unlock()
	if why == "" && age.Abs() < namesFresh {
		return ""
	}
	return n.check(ctx)
}

// check asks the servers and keeps resolv.conf.
func (n *names) check(ctx context.Context) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	conf, err := readResolvConf(n.path)
	if err != nil {
		return n.settle(ctx, err)
	}
	err = n.resolve(ctx, conf.first)
	if ctx.Err() != nil && err != nil {
		return n.why // this look was cut off, which says nothing about names
	}
	if err == nil {
		n.sound++
		if conf.ours && n.sound > 1 {
			n.change(ctx, conf.without(), "removed: the first ones answer again")
		}
		return n.settle(ctx, nil)
	}
	n.sound = 0
	free := max(maxServers-len(conf.first), 0)
	use := n.fallback[:min(free, len(n.fallback))]
	switch {
	case len(n.fallback) == 0:
		return n.settle(ctx, err)
	case len(use) == 0:
		return n.settle(ctx, fmt.Errorf("%w; the fallback has no room in %s, which names %d servers", err, n.path, len(conf.first)))
	case !conf.ours:
		n.change(ctx, conf.with(use), "added: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if second := n.resolve(ctx, use); second != nil {
		return n.settle(ctx, second)
	}
	if errors.Is(err, errNoName) {
		return n.settle(ctx, fmt.Errorf("%w, and no other server is asked after such an answer", err))
	}
	return n.settle(ctx, nil)
}

// errNoName is the answer that there is no such name.
var errNoName = errors.New("no such name")

func (n *names) settle(ctx context.Context, err error) string {
	before := n.why
	n.why, n.at = "", time.Now()
	if err != nil {
		n.why = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if n.why != "" && before == "" {
		n.logger.WarnContext(ctx, "GitHub's names cannot be resolved", "why", n.why)
	}
	return n.why
}

// resolve wants every name from one of the servers.
func (n *names) resolve(ctx context.Context, servers []netip.Addr) error {
	if len(servers) == 0 {
		return errors.New("no name server")
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	results := make(chan error, len(servers))
	for _, server := range servers {
		go func() {
			for _, name := range n.wanted {
				if err := n.lookup(ctx, server, name); err != nil {
					results <- fmt.Errorf("%s at %s: %w", name, server, err)
					return
				}
			}
			results <- nil
		}()
	}
	var errs []error
	for range servers {
		err := <-results
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// lookupAt asks one server for one name, by Go's own resolver, whose every connection leads to that server.
func lookupAt(ctx context.Context, server netip.Addr, name string) error {
	r := net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(server.String(), "53"))
	}}
	_, err := r.LookupNetIP(ctx, "ip4", strings.TrimSuffix(name, ".")+".") // the dot: no search domains
	e, ok := errors.AsType[*net.DNSError](err)
	switch {
	case ok && e.IsNotFound:
		return errNoName
	case ok:
		return errors.New(e.Err) // the rest names the server that was not asked
	default:
		return err
	}
}

// resolvConf is what the file says.
type resolvConf struct {
	text  []byte
	ours  bool
	begin int // of our lines
	end   int
	first []netip.Addr // name servers outside of our lines
}

func readResolvConf(path string) (resolvConf, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return resolvConf{}, err
	}
	if len(text) > maxResolvConf {
		return resolvConf{}, fmt.Errorf("%s has %d bytes", path, len(text))
	}
	c := resolvConf{text: text}
	if c.begin = bytes.Index(text, []byte(fallbackBegin)); c.begin >= 0 {
		c.ours, c.end = true, len(text)
		if i := bytes.Index(text[c.begin:], []byte(fallbackEnd)); i >= 0 {
			c.end = c.begin + i + len(fallbackEnd)
		}
	}
	for line := range bytes.Lines(c.without()) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if server, err := netip.ParseAddr(fields[1]); err == nil && len(c.first) < maxServers {
			c.first = append(c.first, server)
		}
	}
	return c, nil
}

func (c resolvConf) without() []byte {
	if !c.ours {
		return c.text
	}
	return append(bytes.Clone(c.text[:c.begin]), c.text[c.end:]...)
}

func (c resolvConf) with(servers []netip.Addr) []byte {
	text := bytes.Clone(c.without())
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	text = append(text, fallbackBegin...)
	for _, server := range servers {
		text = append(text, "nameserver "+server.String()+"\n"...)
	}
	return append(text, fallbackEnd...)
}

// change writes the file and tells it. A file that cannot be written is told once.
func (n *names) change(ctx context.Context, text []byte, how string) {
	err := writeInPlace(n.path, text)
	switch {
	case err == nil:
		n.logger.WarnContext(ctx, "Fallback name servers changed", "file", n.path, "change", how)
	case !n.failed:
		n.logger.ErrorContext(ctx, "Fallback name servers not changed", "file", n.path, "err", err)
	}
	n.failed = err != nil
}

// writeInPlace overwrites a file and cuts it to its new length. A new file under the old name would be the safer way, but Docker mounts
// a container's resolv.conf into it, and a mounted file cannot be renamed over.
func writeInPlace(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	return errors.Join(err, f.Truncate(int64(len(text))), f.Close())
}
