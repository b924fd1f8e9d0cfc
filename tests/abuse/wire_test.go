package abuse

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wire is an HTTP/2 connection on which a test writes each frame by hand, right or wrong.
type wire struct {
	t      testing.TB
	conn   net.Conn
	out    *bufio.Writer
	framer *http2.Framer // for writing
	fields bytes.Buffer
	hpack  *hpack.Encoder
	next   uint32 // stream number
	err    error  // of the first write that failed
	pings  int    // sent by barrier

	mu       sync.Mutex
	goaways  []goaway
	resets   map[uint32]http2.ErrCode
	ended    map[uint32]bool // the server has ended the stream
	trailers map[uint32]map[string]string
	pinged   [][8]byte
	frames   map[http2.FrameType]int
	settings map[http2.SettingID]uint32
	acks     int              // of PING
	window   int64            // what the server takes on the connection
	spent    map[uint32]int64 // of the windows of streams
	opened   *sync.Cond       // on mu: a window, an ACK, or the end
	gone     chan struct{}
	reading  bool
	lost     bool
}

type goaway struct {
	last uint32
	code http2.ErrCode
}

const initialWindow = 65535

// dial connects and says nothing.
func dial(t testing.TB, socket string) *wire {
	t.Helper()
	conn, err := net.DialTimeout("unix", socket, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, conn: conn, next: 1, gone: make(chan struct{}),
		out: bufio.NewWriterSize(conn, 32<<10), resets: map[uint32]http2.ErrCode{},
		ended:    map[uint32]bool{},
		trailers: map[uint32]map[string]string{}, frames: map[http2.FrameType]int{},
		settings: map[http2.SettingID]uint32{},
		window:   initialWindow, spent: map[uint32]int64{}}
	w.opened = sync.NewCond(&w.mu)
	w.framer = http2.NewFramer(w.out, nil)
	w.framer.AllowIllegalWrites = true
	w.hpack = hpack.NewEncoder(&w.fields)
	t.Cleanup(w.close)
	return w
}

// open connects, says hello and reads what comes.
func open(t testing.TB, socket string, settings ...http2.Setting) *wire {
	t.Helper()
	w := dial(t, socket)
	w.read()
	w.hello(settings...)
	return w
}

// openDeaf says hello and does not read.
func openDeaf(t testing.TB, socket string, settings ...http2.Setting) *wire {
	t.Helper()
	w := dial(t, socket)
	w.hello(settings...)
	return w
}

func (w *wire) hello(settings ...http2.Setting) {
	w.raw([]byte(http2.ClientPreface))
	w.check(w.framer.WriteSettings(settings...))
	w.flush()
}

func (w *wire) close() { w.conn.Close() }

func (w *wire) check(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *wire) raw(p []byte) {
	_, err := w.out.Write(p)
	w.check(err)
}

func (w *wire) flush() bool {
	w.check(w.out.Flush())
	return w.err == nil
}

// frame writes any frame at all; the length may lie if it is given.
func (w *wire) frame(kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte,
	length ...int) {
	n := len(payload)
	if len(length) > 0 {
		n = length[0]
	}
	head := [9]byte{byte(n >> 16), byte(n >> 8), byte(n), byte(kind), byte(flags)}
	binary.BigEndian.PutUint32(head[5:], stream)
	w.raw(head[:])
	w.raw(payload)
}

// id takes the number of the next stream.
func (w *wire) id() uint32 {
	id := w.next
	w.next += 2
	return id
}

func (w *wire) ping(answer bool) { w.check(w.framer.WritePing(answer, [8]byte{1})) }

func (w *wire) set(settings ...http2.Setting) { w.check(w.framer.WriteSettings(settings...)) }

func grpcFields(path string) []hpack.HeaderField {
	return []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"},
		{Name: ":path", Value: path}, {Name: ":authority", Value: "localhost"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}
}

// encode gives a header block.
func (w *wire) encode(fields []hpack.HeaderField) []byte {
	w.fields.Reset()
	for _, f := range fields {
		w.check(w.hpack.WriteField(f))
	}
	return bytes.Clone(w.fields.Bytes())
}

// headers opens a stream and gives its number.
func (w *wire) headers(path string, ends bool, more ...hpack.HeaderField) uint32 {
	id := w.id()
	var flags http2.Flags = http2.FlagHeadersEndHeaders
	if ends {
		flags |= http2.FlagHeadersEndStream
	}
	w.frame(http2.FrameHeaders, flags, id, w.encode(append(grpcFields(path), more...)))
	return id
}

// data sends DATA, when the windows are open for it if somebody reads of them.
func (w *wire) data(id uint32, ends bool, payload []byte) {
	n := int64(len(payload))
	if n > 0 && w.reading && !w.waitWindow(id, n) {
		return
	}
	w.check(w.framer.WriteData(id, ends, payload))
}

// waitWindow waits until n bytes may be sent; false: the stream has ended.
func (w *wire) waitWindow(id uint32, n int64) bool {
	w.waitFor(func() bool {
		return w.ended[id] || w.window >= n && initialWindow-w.spent[id] >= n
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended[id] {
		return false
	}
	w.window -= n
	w.spent[id] += n
	return true
}

// waitFor waits until something has arrived, the connection is lost, or it takes too long.
func (w *wire) waitFor(what func() bool) bool {
	late := false
	timer := time.AfterFunc(time.Minute, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		late = true
		w.opened.Broadcast()
	})
	defer timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !what() && !w.lost {
		w.mu.Unlock()
		w.flush()
		w.mu.Lock()
	}
	for !what() && !w.lost && !late {
		w.opened.Wait()
	}
	return what()
}

// barrier waits until the server has taken all that was sent before; its answers may come later.
func (w *wire) barrier() bool {
	w.pings++
	want := w.pings
	w.check(w.framer.WritePing(false, [8]byte{}))
	return w.waitFor(func() bool { return w.acks >= want })
}

func message(body []byte) []byte {
	head := [5]byte{}
	binary.BigEndian.PutUint32(head[1:], uint32(len(body)))
	return append(head[:], body...)
}

// call sends a whole unary request.
func (w *wire) call(path string, body []byte, more ...hpack.HeaderField) uint32 {
	id := w.headers(path, false, more...)
	for m := message(body); ; {
		n := min(len(m), 16384)
		w.data(id, n == len(m), m[:n])
		if m = m[n:]; len(m) == 0 {
			return id
		}
	}
}

func (w *wire) reset(id uint32, code http2.ErrCode) { w.check(w.framer.WriteRSTStream(id, code)) }

// read takes what comes, in the background.
func (w *wire) read() {
	if w.reading {
		return
	}
	w.reading = true
	framer := http2.NewFramer(nil, bufio.NewReaderSize(w.conn, 64<<10))
	framer.SetMaxReadFrameSize(1<<24 - 1)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	go func() {
		defer close(w.gone)
		defer w.lose()
		for {
			frame, err := framer.ReadFrame()
			var bad http2.StreamError
			if errors.As(err, &bad) {
				continue
			}
			if err != nil {
				return
			}
			w.take(frame)
		}
	}()
}

// lose lets nobody wait for a window any more.
func (w *wire) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = true
	w.opened.Broadcast()
}

func (w *wire) take(frame http2.Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.opened.Broadcast()
	w.frames[frame.Header().Type]++
	switch f := frame.(type) {
	case *http2.GoAwayFrame:
		w.goaways = append(w.goaways, goaway{f.LastStreamID, f.ErrCode})
	case *http2.RSTStreamFrame:
		w.resets[f.StreamID] = f.ErrCode
		w.ended[f.StreamID] = true
	case *http2.MetaHeadersFrame:
		if f.StreamEnded() {
			w.trailers[f.StreamID] = map[string]string{}
			for _, field := range f.Fields {
				w.trailers[f.StreamID][field.Name] = field.Value
			}
			w.ended[f.StreamID] = true
		}
	case *http2.DataFrame:
		if f.StreamEnded() {
			w.ended[f.StreamID] = true
		}
	case *http2.PingFrame:
		if f.IsAck() {
			w.acks++
		} else {
			w.pinged = append(w.pinged, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			w.window += int64(f.Increment)
		} else {
			w.spent[f.StreamID] -= int64(f.Increment)
		}
	case *http2.SettingsFrame:
		f.ForeachSetting(func(s http2.Setting) error { w.settings[s.ID] = s.Val; return nil })
	}
}

// isGone waits for the server to close the connection.
func (w *wire) isGone(most time.Duration) bool {
	w.read()
	select {
	case <-w.gone:
		return true
	case <-time.After(most):
		return false
	}
}

// hasGone tells whether that has happened already.
func (w *wire) hasGone() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// farewell is the code of the last GOAWAY, and whether there was one.
func (w *wire) farewell() (code http2.ErrCode, told bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.goaways) == 0 {
		return 0, false
	}
	return w.goaways[len(w.goaways)-1].code, true
}

// repeat does something until it has done so often, the time is over, or the server does not
// take it any more. It gives the number of times.
func (w *wire) repeat(most int, do func(i int)) int {
	end := time.Now().Add(sendFor)
	w.conn.SetWriteDeadline(end)
	defer w.conn.SetWriteDeadline(time.Time{})
	for i := 0; i < most; i++ {
		do(i)
		if i%64 == 63 && !time.Now().Before(end) || w.err != nil {
			return i
		}
	}
	w.flush()
	return most
}
