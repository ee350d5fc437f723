package github

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// Bounds of the cache: 10,000 runners are 100 pages of some 60 KB.
const (
	maxCacheEntries = 256
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

// cache is a least-recently-used map bounded in entries and bytes. Evicting is
// harmless: the next request is a plain one.
type cache struct {
	maxEntries, maxBytes int

	mu    sync.Mutex
	items map[cacheKey]*list.Element
	order *list.List // of *cacheItem, most recent first
	bytes int
}

type cacheItem struct {
	key   cacheKey
	entry *entry
}

func newCache(maxEntries, maxBytes int) *cache {
	return &cache{maxEntries: maxEntries, maxBytes: maxBytes, items: map[cacheKey]*list.Element{}, order: list.New()}
}

func (c *cache) get(k cacheKey) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.items[k]
	if !ok {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*cacheItem).entry
}

func (c *cache) put(k cacheKey, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.items[k]; ok {
		c.drop(el)
	}
	c.items[k] = c.order.PushFront(&cacheItem{key: k, entry: e})
	c.bytes += len(e.body)
	for c.order.Len() > c.maxEntries || c.bytes > c.maxBytes {
		c.drop(c.order.Back())
	}
}

// clear forgets everything, so that the next requests are plain ones.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.items)
	c.order.Init()
	c.bytes = 0
}

// drop removes one element. c.mu is held.
func (c *cache) drop(el *list.Element) {
	item := el.Value.(*cacheItem)
	c.order.Remove(el)
	delete(c.items, item.key)
	c.bytes -= len(item.entry.body)
}
