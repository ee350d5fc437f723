package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/exporter-toolkit/web"
)

// bindTimeout bounds the look-up of a host name in a listen address.
const bindTimeout = 10 * time.Second

// complete fills in what a caller left out, so that the toolkit, which dereferences every field, never meets a nil.
func complete(f *web.FlagConfig) web.FlagConfig {
	var c web.FlagConfig
	if f != nil {
		c = *f
	}
	if c.WebListenAddresses == nil {
		c.WebListenAddresses = new([]string)
	}
	if c.WebSystemdSocket == nil {
		c.WebSystemdSocket = new(bool)
	}
	if c.WebConfigFile == nil {
		c.WebConfigFile = new(string)
	}
	return c
}

// listen takes every port or none.
func listen(f web.FlagConfig) ([]net.Listener, error) {
	if *f.WebSystemdSocket {
		return inherited()
	}
	if len(*f.WebListenAddresses) == 0 {
		return nil, errors.New("--web.listen-address: no address given: use HOST:PORT or :PORT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), bindTimeout)
	defer cancel()
	var config net.ListenConfig
	var ls []net.Listener
	for _, address := range *f.WebListenAddresses {
		if strings.HasPrefix(address, "vsock://") {
			return nil, errors.Join(fmt.Errorf("--web.listen-address=%s: vsock is not supported: use HOST:PORT", address), closeAll(ls))
		}
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, errors.Join(bindError(address, err), closeAll(ls))
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// bindError says which flag to change and why, in one line, without the repetition of net.OpError.
func bindError(address string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return fmt.Errorf("--web.listen-address=%s: %w: give another HOST:PORT with this flag", address, err)
}

// inherited takes the sockets of a systemd socket unit.
func inherited() ([]net.Listener, error) {
	ls, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("--web.systemd-socket: %w", err)
	}
	if len(ls) == 0 {
		return nil, errors.New("--web.systemd-socket: systemd passed no socket: start this program through its socket unit, or leave the flag out")
	}
	return ls, nil
}

func closeAll(ls []net.Listener) error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
