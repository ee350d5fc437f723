package github

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

type scopeKind int

const (
	scopeNone scopeKind = iota
	scopeRepository
	scopeOrganization
	scopeEnterprise
)

// enterprisePrefix marks an enterprise in the written form of a scope. GitHub reserves the name, so
// it is not an owner's.
const enterprisePrefix = "enterprises"

// Scope is a repository, an organization or an enterprise that has runners. Every call refuses the
// zero Scope.
type Scope struct {
	kind  scopeKind
	owner string // for an organization or enterprise, its name
	repo  string
}

// ParseScope reads "owner/repo", "org" or "enterprises/name".
func ParseScope(s string) (Scope, error) {
	first, second, two := strings.Cut(s, "/")
	switch {
	case !two && validName(first) && first != enterprisePrefix:
		return Scope{kind: scopeOrganization, owner: first}, nil
	case two && first == enterprisePrefix && validName(second):
		return Scope{kind: scopeEnterprise, owner: second}, nil
	case two && validName(first) && first != enterprisePrefix && validName(second):
		return Scope{kind: scopeRepository, owner: first, repo: second}, nil
	}
	return Scope{}, fmt.Errorf(`scope %q: want "owner/repo", "organization" or "enterprises/name"`, s)
}

// same reports whether both are the same place: GitHub's names do not distinguish case.
func (s Scope) same(o Scope) bool {
	return s.kind == o.kind && strings.EqualFold(s.owner, o.owner) && strings.EqualFold(s.repo, o.repo)
}

// Distinct returns the scopes without the zero Scope and without repetitions.
func Distinct(scopes ...Scope) []Scope {
	var out []Scope
	for _, s := range scopes {
		if s.kind != scopeNone && !slices.ContainsFunc(out, s.same) {
			out = append(out, s)
		}
	}
	return out
}

// String returns the form that ParseScope reads.
func (s Scope) String() string {
	switch s.kind {
	case scopeRepository:
		return s.owner + "/" + s.repo
	case scopeOrganization:
		return s.owner
	case scopeEnterprise:
		return enterprisePrefix + "/" + s.owner
	default:
		return ""
	}
}

// names is what GitHub allows in names, none of which needs escaping in a URL path. Its own limits
// are 39 characters for an owner and 100 for a repository; that of an enterprise is not documented.
var names = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

func validName(s string) bool { return names.MatchString(s) && s != "." && s != ".." }
