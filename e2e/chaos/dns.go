package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/blueguy23/ghostrunner/e2e/machine"
)

// apiName is the name of the simulated GitHub in the stack. Docker's own resolver does not know it.
const apiName = "api.github.test"

// resolver is the DNS server behind Docker's resolver. It knows one name, and can fail or be slow.
type resolver struct {
	failing atomic.Bool  // answers SERVFAIL, like a forwarder without its upstream
	failFor atomic.Value // string: it fails from the next query of this address on
	delay   atomic.Int64 // nanoseconds before each answer
}

// serve answers until ctx ends.
func (r *resolver) serve(ctx context.Context) error {
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp4", net.JoinHostPort(machine.Address, "53"))
	if err != nil {
		return fmt.Errorf("DNS server: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	go func() {
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return // closed
			}
			if address, ok := from.(*net.UDPAddr); ok {
				r.asked(address.IP.String())
			}
			answer, err := r.answer(packet[:n])
			if err != nil {
				continue // not a query
			}
			time.AfterFunc(time.Duration(r.delay.Load()), func() { _, _ = conn.WriteTo(answer, from) })
		}
	}()
	return nil
}

// failAtQueryFrom makes the server fail at the next query of the address.
func (r *resolver) failAtQueryFrom(address string) { r.failFor.Store(address) }

func (r *resolver) asked(by string) {
	if r.failFor.CompareAndSwap(by, "") {
		r.failing.Store(true)
	}
}

// restore ends the failure.
func (r *resolver) restore() {
	r.failFor.Store("")
	r.failing.Store(false)
}

func (r *resolver) answer(packet []byte) ([]byte, error) {
	var question dnsmessage.Message
	if err := question.Unpack(packet); err != nil {
		return nil, err
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: question.ID, Response: true, RecursionDesired: question.RecursionDesired, RecursionAvailable: true},
		Questions: question.Questions,
	}
	switch q := question.Questions; {
	case r.failing.Load():
		reply.RCode = dnsmessage.RCodeServerFailure
	case len(q) != 1 || q[0].Name.String() != apiName+".":
		reply.RCode = dnsmessage.RCodeNameError
	case q[0].Type == dnsmessage.TypeA:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 0},
			Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(machine.Address).To4())},
		}}
	}
	return reply.Pack()
}
