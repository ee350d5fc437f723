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

// bindTimeout bounds the lookup of a host name in a listen address.
const bindTimeout = 10 * time.Second

// listen binds every address or none.
func listen(f *web.FlagConfig) ([]net.Listener, error) {
	if *f.WebSystemdSocket {
		ls, err := activation.Listeners()
		if err == nil && len(ls) == 0 {
			err = errors.New("systemd passed no socket: start this program through its socket unit, or omit the flag")
		}
		if err != nil {
			return nil, fmt.Errorf("--web.systemd-socket: %w", err)
		}
		return ls, nil
	}
	if len(*f.WebListenAddresses) == 0 {
		return nil, errors.New("--web.listen-address: no address given: use HOST:PORT or :PORT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), bindTimeout)
	defer cancel()
	var ls []net.Listener
	for _, address := range *f.WebListenAddresses {
		l, err := bind(ctx, address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("--web.listen-address=%s: %w: use another HOST:PORT", address, err), closeAll(ls))
		}
		ls = append(ls, l)
	}
	return ls, nil
}

func bind(ctx context.Context, address string) (net.Listener, error) {
	if strings.HasPrefix(address, "vsock://") {
		return nil, errors.New("vsock is not supported")
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the address again
	}
	return l, err
}

func closeAll(ls []net.Listener) error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
