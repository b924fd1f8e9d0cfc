// client.js ENDPOINT: grpc-js against the test server, as TAP.
'use strict';

const http2 = require('http2');
const net = require('net');
const grpc = require('@grpc/grpc-js');

const endpoint = process.argv[2];
const TEXT = '\t\nvolume vöĺ: 100 % ☺ 😈\r\n';
const AUTHORITIES = [
	'localhost',
	'/var/lib/kubelet/plugins/x/csi.sock',
	'unix:/csi/csi.sock',
	'%2Fvar%2Flib%2Fcsi.sock',
];
const same = (bytes) => bytes;
let count = 0;
let failed = 0;

function ok(good, name, why) {
	count++;
	console.log(`${good ? '' : 'not '}ok ${count} - ${name}`);
	if (!good) {
		failed++;
		console.log(`# ${why}`);
	}
}

function connect(options) {
	return new grpc.Client(endpoint, grpc.credentials.createInsecure(), {
		'grpc.use_local_subchannel_pool': 1, ...options });
}

// Gives { code, value }: the reply or the text. `seen` gets the call, to cancel it.
function call(client, method, request = Buffer.alloc(0), ms = 120000, seen = () => {}) {
	return new Promise((resolve) => {
		seen(client.makeUnaryRequest(method[0] === '/' ? method : `/interop.Test/${method}`,
			same, same, request, { deadline: Date.now() + ms },
			(error, reply) => resolve(error ? { code: error.code, value: error.details } :
				{ code: 0, value: reply })));
	});
}

function expect(name, got, code, value) {
	const good = got.code === code && (value === undefined ||
		(Buffer.isBuffer(value) ? value.equals(got.value) : value === got.value));
	ok(good, name, `got ${got.code} ${String(got.value).slice(0, 200)}`);
}

async function unary(client) {
	expect('a unary call', await call(client, 'Echo', Buffer.from('hello')), 0,
		Buffer.from('hello'));
	expect('an empty message', await call(client, 'Echo'), 0, Buffer.alloc(0));
	for (const size of [271828, 4 * 1024 * 1024]) {
		const data = Buffer.alloc(size, 7);
		expect(`a message of ${size} bytes`, await call(client, 'Echo', data), 0, data);
	}
	expect('a message over the limit', await call(client, 'Echo', Buffer.alloc(4194305)),
		grpc.status.RESOURCE_EXHAUSTED);
	expect('an answer of 314159 bytes', await call(client, 'Size', Buffer.from('314159')), 0,
		Buffer.alloc(314159, 'x'));
}

async function errors(client) {
	const got = [];
	for (let n = 1; n <= 16; n++)
		got.push((await call(client, 'Status', Buffer.from(`${n} text`))).code);
	ok(got.every((code, i) => code === i + 1), 'every status code', got);
	expect('a text in Unicode', await call(client, 'Status', Buffer.from(`5 ${TEXT}`)),
		grpc.status.NOT_FOUND, TEXT);
	expect('an unknown method', await call(client, 'Nope'), grpc.status.UNIMPLEMENTED);
	expect('an unknown service', await call(client, '/interop.Nope/Echo'),
		grpc.status.UNIMPLEMENTED);
	const gzip = connect({ 'grpc.default_compression_algorithm':
		grpc.compressionAlgorithms.gzip });
	expect('a compressed message', await call(gzip, 'Echo', Buffer.alloc(1000)),
		grpc.status.UNIMPLEMENTED);
	gzip.close();
}

async function timeAndCancel(client) {
	// On a loaded machine the client's own text may come before the server's, whose margin is 100 ms.
	let late, start, tries = 0;
	do {
		start = Date.now();
		late = await call(client, 'Sleep', Buffer.from('600000'), 2000);
	} while (late.value !== 'was asleep' && ++tries < 30);
	expect('a deadline: the server\'s text arrives', late, grpc.status.DEADLINE_EXCEEDED, 'was asleep');
	ok(Date.now() - start > 1000, '... not before it', `${Date.now() - start} ms`);
	expect('an answer within the deadline', await call(client, 'Sleep', Buffer.from('50')), 0,
		Buffer.from('awake'));

	const number = async (method) => Number(String((await call(client, method)).value));
	const before = await number('Gone');
	let never;
	const end = call(client, 'Never', undefined, 120000, (c) => { never = c; });
	while (await number('Running') === 0);
	never.cancel();
	expect('a cancelled call', await end, grpc.status.CANCELLED);
	const until = Date.now() + 120000;
	while (await number('Gone') === before && Date.now() < until);
	ok(await number('Gone') === before + 1, '... is let go by the server');
}

async function concurrentCalls(client) {
	const each = async (n, one) =>
		(await Promise.all(Array.from({ length: n }, (_, i) => one(Buffer.from(`${i}`)))))
			.filter(Boolean).length;
	const echo = async (own, bytes) => {
		const got = await call(own, 'Echo', bytes);
		return got.code === 0 && bytes.equals(got.value);
	};
	let good = await each(1000, (bytes) => echo(client, bytes));
	ok(good === 1000, '1000 calls at once on one connection', good);
	good = await each(200, async (bytes) => {
		const own = connect();
		const fine = await echo(own, bytes);
		own.close();
		return fine;
	});
	ok(good === 200, '200 calls with a connection each', good);
}

// The streams of gRPC's interoperability tests; the messages are written by hand.
async function streams(client) {
	const path = '/grpc.testing.TestService/';
	const ask = [Buffer.from([0x12, 4, 8, 0xb7, 0xf5, 1]), Buffer.from([0x12, 2, 8, 9])];
	const deadline = () => ({ deadline: Date.now() + 120000 });
	const all = (stream) => new Promise((resolve) => {
		const got = [];
		stream.on('data', (bytes) => got.push(bytes.length));
		stream.on('error', (error) => resolve(`${error.code} ${error.details}`));
		stream.on('end', () => resolve(got.join(' ')));
	});
	const expectSizes = (name, got, want) => ok(got === want, name, got);
	const output = (request) => all(client.makeServerStreamRequest(
		`${path}StreamingOutputCall`, same, same, request, deadline()));
	const duplex = (requests) => {
		const stream = client.makeBidiStreamRequest(`${path}FullDuplexCall`, same, same,
			deadline());
		const got = all(stream);
		requests.forEach((request) => stream.write(request));
		stream.end();
		return got;
	};

	// payloads of 31415 and 9 bytes, with what is around them
	expectSizes('server_streaming', await output(Buffer.concat(ask)), '31423 13');
	expectSizes('ping_pong', await duplex(ask), '31423 13');
	expectSizes('empty_stream', await duplex([]), '');
	expectSizes('500 messages of 31415 bytes', await output(Buffer.concat(Array(500).fill(ask[0]))),
		Array(500).fill(31423).join(' '));
	const sum = await new Promise((resolve) => {
		const stream = client.makeClientStreamRequest(`${path}StreamingInputCall`, same, same,
			deadline(), (error, reply) => resolve(error ? error.details : reply.toString('hex')));
		// a payload (1) with a body (2) of 100 bytes
		const message = Buffer.concat([Buffer.from([0x0a, 102, 0x12, 100]), Buffer.alloc(100)]);
		for (let i = 0; i < 10000; i++)
			stream.write(message);
		stream.end();
	});
	ok(sum === '08c0843d', 'client_streaming: 10000 messages', sum);
	const first = client.makeBidiStreamRequest(`${path}FullDuplexCall`, same, same, deadline());
	const code = await new Promise((resolve) => {
		first.on('error', (error) => resolve(error.code));
		first.on('data', () => first.cancel());
		first.write(ask[1]);
	});
	ok(code === grpc.status.CANCELLED, 'cancel_after_first_response', code);
}

async function customMetadata(client) {
	const path = '/grpc.testing.TestService/';
	const initial = 'x-grpc-test-echo-initial';
	const trailing = 'x-grpc-test-echo-trailing-bin';
	const bytes = Buffer.from([0xab, 0xab, 0xab]);
	const sent = new grpc.Metadata();
	sent.set(initial, 'test_initial_metadata_value');
	sent.set(trailing, bytes);
	const options = { deadline: Date.now() + 120000 };
	const comesBack = (stream) => new Promise((resolve) => {
		let header;
		stream.on('metadata', (metadata) => { header = metadata.get(initial)[0]; });
		stream.on('status', ({ code, metadata }) => resolve(code === 0 &&
			header === 'test_initial_metadata_value' &&
			bytes.equals(metadata.get(trailing)[0])));
	});
	ok(await comesBack(client.makeUnaryRequest(`${path}UnaryCall`, same, same, Buffer.alloc(0),
		sent, options, () => {})), 'custom_metadata, unary');
	const stream = client.makeBidiStreamRequest(`${path}FullDuplexCall`, same, same, sent, options);
	stream.resume();
	stream.end(Buffer.from([0x12, 2, 8, 1]));
	ok(await comesBack(stream), '... and full duplex');
}

// grpc-js has no google.rpc.Status: the bytes are looked at.
async function statusDetails(client) {
	const info = Buffer.from('\x0a\x09POOL_FULL');
	const error = await new Promise((resolve) => {
		client.makeUnaryRequest('/interop.Test/Details', same, same, info,
			{ deadline: Date.now() + 120000 }, resolve);
	});
	const text = Buffer.from('with details ☺');
	const type = Buffer.from('type.googleapis.com/google.rpc.ErrorInfo');
	const field = (number, bytes) => Buffer.concat([Buffer.from([number << 3 | 2, bytes.length]),
		bytes]);
	const want = Buffer.concat([Buffer.from([8, grpc.status.FAILED_PRECONDITION]), field(2, text),
		field(3, Buffer.concat([field(1, type), field(2, info)]))]);
	const got = error.metadata.get('grpc-status-details-bin')[0];
	ok(want.equals(got), 'status details', got && got.toString('latin1'));
}

// Many more pings than servers in Go allow: a local socket has room for them.
async function keepalive() {
	const client = connect({ 'grpc.keepalive_time_ms': 10,
		'grpc.keepalive_permit_without_calls': 1 });
	const bytes = async () => Number(String((await call(client, 'BytesIn')).value));
	const before = await bytes();
	expect('a call with a ping every 10 ms', await call(client, 'Sleep', Buffer.from('2000')), 0,
		Buffer.from('awake'));
	const sent = await bytes() - before;
	ok(sent > 50 * 17, '... which were sent', `${sent} bytes`);
	client.close();
}

// node's HTTP/2 client sends no :authority when it is given a host.
function hostInstead() {
	const session = http2.connect('http://localhost', {
		createConnection: () => net.connect(endpoint.replace('unix://', '')) });
	const stream = session.request({ ':method': 'POST', ':path': '/interop.Test/Echo',
		host: 'localhost', 'content-type': 'application/grpc', te: 'trailers' });
	stream.end(Buffer.alloc(5));
	stream.resume();
	return new Promise((resolve) => {
		stream.on('trailers', (trailers) => resolve({ sent: stream.sentHeaders, trailers }));
		stream.on('error', (error) => resolve({ error: error.message }));
	}).finally(() => session.close());
}

async function main() {
	const client = connect();
	await unary(client);
	await errors(client);
	await timeAndCancel(client);
	await concurrentCalls(client);
	await streams(client);
	await customMetadata(client);
	await statusDetails(client);
	client.close();
	await keepalive();
	for (const authority of AUTHORITIES) {
		const odd = connect({ 'grpc.default_authority': authority });
		expect(`:authority ${authority}`, await call(odd, 'Echo', Buffer.from('x')), 0,
			Buffer.from('x'));
		odd.close();
	}
	const got = await hostInstead();
	ok(got.trailers && got.trailers['grpc-status'] === '0' &&
		got.sent[':authority'] === undefined && got.sent.host === 'localhost',
		'a host instead of :authority', JSON.stringify(got));
	console.log(`1..${count}`);
	process.exitCode = failed ? 1 : 0;
}

main();
