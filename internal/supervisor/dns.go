package supervisor

import (
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

const (
	lookupTimeout = 3 * time.Second
	maxServers    = 3 // of resolv.conf; the C library reads no more (resolv.conf(5), MAXNS)
)

// Our lines in resolv.conf are between these two.
const (
	fallbackBegin = "# ghostrunner-runner begin: in use while the servers above do not answer\n"
	fallbackEnd   = "# ghostrunner-runner end\n"
)

var errNoName = errors.New("no such name")

// dnsFallback keeps GitHub's names resolvable in this container. While no name server of
// resolv.conf resolves them, as after a VPN has come or gone, fallback servers are appended; when
// one does again, twice in a row, they are removed. They are last, so Docker's own server, which
// alone knows the other containers, is still asked first.
//
// They help if the first servers are silent or fail. They do not help if one answers that the name
// does not exist: resolvers then ask no other server.
type dnsFallback struct {
	path      string   // of resolv.conf
	hostnames []string // empty: nothing is checked
	servers   []netip.Addr
	logger    *slog.Logger
	lookup    func(ctx context.Context, server netip.Addr, name string) error

	mu        sync.Mutex
	successes int // of the first servers, in a row
}

// watch checks until ctx ends, also while a listener runs: its own retries need names too.
func (d *dnsFallback) watch(ctx context.Context, every time.Duration) {
	for sleep(ctx, every) {
		_ = d.check(ctx) // changes of resolv.conf are logged
	}
}

func (d *dnsFallback) check(ctx context.Context) error {
	if len(d.hostnames) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	conf, err := readResolvConf(d.path)
	if err != nil {
		return err
	}
	err = d.resolve(ctx, conf.servers)
	if err == nil {
		if d.successes++; conf.hasFallback && d.successes > 1 {
			d.write(ctx, conf.own, "removed: the first ones answer again")
		}
		return nil
	}
	d.successes = 0
	free := max(maxServers-len(conf.servers), 0)
	use := d.servers[:min(free, len(d.servers))]
	switch {
	case len(d.servers) == 0 || ctx.Err() != nil:
		return err
	case len(use) == 0:
		return fmt.Errorf("%w; no room for a fallback in %s, which names %d servers", err, d.path, len(conf.servers))
	case !conf.hasFallback:
		d.write(ctx, conf.with(use), "added: "+err.Error())
	}
	if errors.Is(err, errNoName) {
		return fmt.Errorf("%w, and resolvers ask no other server after such an answer", err)
	}
	return d.resolve(ctx, use)
}

func (d *dnsFallback) resolve(ctx context.Context, servers []netip.Addr) error {
	if len(servers) == 0 {
		return errors.New("no name server")
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	results := make(chan error, len(servers))
	for _, server := range servers {
		go func() {
			for _, name := range d.hostnames {
				if err := d.lookup(ctx, server, name); err != nil {
					results <- fmt.Errorf("%s at %s: %w", name, server, err)
					return
				}
			}
			results <- nil
		}()
	}
	var failed error
	for range servers {
		switch err := <-results; {
		case err == nil:
			return nil
		case failed == nil:
			failed = err
		default:
			failed = fmt.Errorf("%w; %w", failed, err) // one line
		}
	}
	return failed
}

// lookupAt asks one server for one name, with a resolver whose every connection goes to it.
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
		return errors.New(e.Err) // the rest names a server of resolv.conf, which was not asked
	default:
		return err
	}
}

// write writes resolv.conf and logs it. Docker mounts the file into the container, so it cannot be
// replaced, only overwritten. It is never empty: the text gets longer by one write, or shorter by
// one truncation.
func (d *dnsFallback) write(ctx context.Context, text, change string) {
	f, err := os.OpenFile(d.path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte(text), 0)
		err = errors.Join(err, f.Truncate(int64(len(text))), f.Close())
	}
	if err != nil {
		d.logger.ErrorContext(ctx, "Fallback name servers not changed", "file", d.path, "err", err)
		return
	}
	d.logger.WarnContext(ctx, "Fallback name servers changed", "file", d.path, "change", change)
}

type resolvConf struct {
	own         string       // all but our lines
	servers     []netip.Addr // of own
	hasFallback bool
}

func readResolvConf(path string) (resolvConf, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return resolvConf{}, err
	}
	head, ours, found := strings.Cut(string(text), fallbackBegin)
	_, tail, _ := strings.Cut(ours, fallbackEnd)
	c := resolvConf{own: head + tail, hasFallback: found}
	for line := range strings.Lines(c.own) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if server, err := netip.ParseAddr(fields[1]); err == nil && len(c.servers) < maxServers {
			c.servers = append(c.servers, server)
		}
	}
	return c, nil
}

func (c resolvConf) with(servers []netip.Addr) string {
	text := []byte(c.own)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	text = append(text, fallbackBegin...)
	for _, server := range servers {
		text = append(text, "nameserver "+server.String()+"\n"...)
	}
	return string(text) + fallbackEnd
}
