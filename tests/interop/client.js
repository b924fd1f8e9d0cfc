// client.js ENDPOINT: grpc-js against the test server, as TAP.
'use strict';

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
	console.log(`${good ? '' : 'not '}ok ${count} - grpc-js: ${name}`);
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
function call(client, method, request = Buffer.alloc(0), ms = 30000, seen = () => {}) {
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
}

async function timeAndCancel(client) {
	const start = Date.now();
	expect('a deadline: the server\'s text arrives',
		await call(client, 'Sleep', Buffer.from('60000'), 1000),
		grpc.status.DEADLINE_EXCEEDED, 'was asleep');
	ok(Date.now() - start < 5000, '... in time', `${Date.now() - start} ms`);
	expect('an answer within the deadline', await call(client, 'Sleep', Buffer.from('50')), 0,
		Buffer.from('awake'));

	const number = async (method) => Number(String((await call(client, method)).value));
	const before = await number('Gone');
	let never;
	const end = call(client, 'Never', undefined, 30000, (c) => { never = c; });
	while (await number('Running') === 0);
	never.cancel();
	expect('a cancelled call', await end, grpc.status.CANCELLED);
	const until = Date.now() + 10000;
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

async function main() {
	const client = connect();
	await unary(client);
	await errors(client);
	await timeAndCancel(client);
	await concurrentCalls(client);
	client.close();
	for (const authority of AUTHORITIES) {
		const odd = connect({ 'grpc.default_authority': authority });
		expect(`:authority ${authority}`, await call(odd, 'Echo', Buffer.from('x')), 0,
			Buffer.from('x'));
		odd.close();
	}
	console.log(`1..${count}`);
	process.exitCode = failed ? 1 : 0;
}

main();
