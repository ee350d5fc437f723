package collector

import (
	"context"
	"time"
)

// What is known about the token comes with every answer of GitHub; nothing is asked for its sake. A dead network says
// nothing about a token, so the last verdict stays, with the time at which it was given.

var (
	patValid = newDesc("ghostrunner_pat_valid",
		"Whether GitHub accepted the token; absent until GitHub answered.")
	patPermission = newDesc("ghostrunner_pat_permission_sufficient",
		"Whether the token may manage runners; absent until that is known.")
	patExpiry = newDesc("ghostrunner_pat_expiry_timestamp_seconds",
		"When the token expires; absent if GitHub reported no end.")
	patLastCheck = newDesc("ghostrunner_pat_last_check_timestamp_seconds",
		"When GitHub last said anything about the token.")
)

// Credential is what is known about the token. The token itself is not in it.
type Credential struct {
	Known, Valid                          bool
	PermissionKnown, PermissionSufficient bool
	Expiry, LastCheck                     time.Time // zero: none
}

// Credentials gives it without any I/O.
type Credentials interface{ Credential() Credential }

type credentialSource struct{ from Credentials }

// NewCredential returns the source "credential".
func NewCredential(from Credentials) Source { return credentialSource{from} }

func (credentialSource) Name() string { return NameCredential }

func (s credentialSource) Collect(_ context.Context, out *Samples) error {
	c := s.from.Credential()
	if c.Known {
		gauge(out, patValid, boolean(c.Valid))
	}
	if c.PermissionKnown {
		gauge(out, patPermission, boolean(c.PermissionSufficient))
	}
	timestamp(out, patExpiry, c.Expiry)
	timestamp(out, patLastCheck, c.LastCheck)
	return nil
}
