package github

import (
	"crypto/sha256"
	"sync"
)

// Bounds of the cache: 10,000 runners, the most that one scope can have, are 100
// pages of some 60 KB.
const (
	maxCacheEntries = 1024
	maxCacheBytes   = 32 << 20
)

// tokenHash identifies a token without keeping it. An ETag of GitHub depends on
// the Authorization header, so another token is another page.
type tokenHash [sha256.Size]byte

func hashToken(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// cacheKey is one page as one token sees it. Only GET is kept.
type cacheKey struct {
	url, accept string
	token       tokenHash
}

// entry is a page that may be asked for conditionally. It is immutable, so a
// request in flight keeps the body that belongs to its ETag even when the cache
// drops it meanwhile.
type entry struct {
	etag, link, contentType string
	body                    []byte
}

// cache keeps pages, bounded in entries and bytes. What has no room is not kept,
// and asked for plainly the next time. Nothing older makes room for it: all pages
// are read in turn, so the oldest is always the next to be asked for, and a cache
// that drops the oldest would be of no use at all as soon as one page has no room.
type cache struct {
	maxEntries, maxBytes int

	mu    sync.Mutex
	token tokenHash // of all items: a replaced token's pages are of no more use
	items map[cacheKey]*entry
	bytes int
}

func newCache(maxEntries, maxBytes int) *cache {
	return &cache{maxEntries: maxEntries, maxBytes: maxBytes, items: map[cacheKey]*entry{}}
}

func (c *cache) get(k cacheKey) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.items[k]
}

// put replaces what was kept under the key, also by nothing if e has no room.
func (c *cache) put(k cacheKey, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.token != c.token {
		c.token, c.bytes = k.token, 0
		clear(c.items)
	}
	if old := c.items[k]; old != nil {
		c.bytes -= len(old.body)
		delete(c.items, k)
	}
	if len(c.items) < c.maxEntries && c.bytes+len(e.body) <= c.maxBytes {
		c.items[k] = e
		c.bytes += len(e.body)
	}
}

// clear forgets everything, so that the next requests are plain ones.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.items)
	c.bytes = 0
}
