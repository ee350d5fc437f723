package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/exporter-toolkit/web"
)

// bindTimeout bounds the lookup of a host name in a listen address.
const bindTimeout = 10 * time.Second

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
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			for _, l := range ls {
				_ = l.Close()
			}
			if op, ok := errors.AsType[*net.OpError](err); ok {
				err = op.Err // without the address again
			}
			return nil, fmt.Errorf("--web.listen-address=%s: %w: use another HOST:PORT", address, err)
		}
		ls = append(ls, l)
	}
	return ls, nil
}
