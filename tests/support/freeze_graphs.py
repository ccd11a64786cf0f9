import numpy as np, tensorflow as tf
tf1 = tf.compat.v1
F = np.float32
GRAPHS = {}
def case(f):
    GRAPHS[f.__name__] = f
    return f
def var(name, shape, resource, **kw):
    return tf1.get_variable(name, shape, use_resource=resource, initializer=kw.pop("init", None) or tf1.random_normal_initializer(seed=1), **kw)
X = lambda s=(None, 4), n="x", d=tf.float32: tf1.placeholder(d, list(s), name=n)
x1 = np.arange(8, dtype=F).reshape(2, 4)

def v1cf(f):
    def g():
        tf1.disable_control_flow_v2()
        try: return f()
        finally: tf1.enable_control_flow_v2()
    g.__name__ = f.__name__
    return g

@case
def ref_dense():
    x = X(); w = var("w", [4,3], False); return {"x":(x,x1)}, {"y": tf.matmul(x,w,name="y")}
@case
def res_dense():
    x = X(); w = var("w", [4,3], True); b = var("b",[3],True); return {"x":(x,x1)}, {"y": tf.nn.relu(tf.matmul(x,w)+b+w[0])}
@case
def devices():
    with tf.device("/job:ps/task:0/device:CPU:0"): w = var("w",[4,3],True); r = var("r",[4,3],False); t=var("t",[9,3],True)
    with tf.device("/job:worker"):
        x = X(); i = X([None],"i",tf.int64); return {"x":(x,x1),"i":(i,np.array([1,2]))}, {"y": tf.matmul(x,w)+tf.matmul(x,r)+tf.gather(t,i)}
@case
def ref_gather():
    t = var("t",[9,3],False); i = X([None],"i",tf.int64); return {"i":(i,np.array([1,2]))}, {"y": tf1.nn.embedding_lookup(t,i)}
@case
def res_gather():
    t = var("t",[9,3],True); i = X([None],"i",tf.int64); return {"i":(i,np.array([1,2]))}, {"y": tf1.nn.embedding_lookup(t,i), "z": tf.gather(t, i), "nd": t.gather_nd(i[:,None])}
@case
def gather_refidx():
    t = var("t",[9,3],True); i = tf1.get_variable("i", initializer=np.array([1,5]), use_resource=False); return {}, {"y": tf1.nn.embedding_lookup(t,i)}
@case
def partitioned():
    i = X([None],"i",tf.int64)
    a = var("a",[10,3],True,partitioner=tf1.fixed_size_partitioner(3)); b = var("b",[10,3],False,partitioner=tf1.fixed_size_partitioner(11, axis=0) if False else tf1.fixed_size_partitioner(4))
    return {"i":(i,np.array([1,7]))}, {"y": tf1.nn.embedding_lookup(a,i)+tf1.nn.embedding_lookup(b,i), "c": tf.concat(list(a),0)}
@case
def dtypes():
    out = {}
    for n, v in {"f64":np.array([1.,2.]), "s":np.float32(3), "i8":np.array([[1,-2]],np.int8),"u8":np.array([1,2],np.uint8),"u16":np.array([1,2,65535],np.uint16), "i64s":np.int64(5), "bo":np.array([True,False]), "bs":np.bool_(True),
                 "h":np.array([1,2],np.float16), "hs":np.float16(1.5), "c":np.array([1+2j,3],np.complex64), "e":np.zeros([0,3],F), "st":np.array([b"a",b"bc\0"],object), "u32":np.array([1,2**32-1],np.uint32), "one":np.ones([1,1],F)}.items():
        for r in (True, False):
            if r is False and n in ("u32","u16"): continue
            out[f"{n}{r}"] = tf.identity(tf1.get_variable(f"{n}{r}", initializer=v, use_resource=r))
    bf = tf1.get_variable("bf", initializer=tf.constant([1,2,3],tf.bfloat16), use_resource=True)
    out["bf"]=tf.identity(bf)
    bf = tf1.get_variable("bf1", initializer=tf.constant(1,tf.bfloat16), use_resource=True)
    out["bf1"]=tf.identity(bf)
    return {}, out
@case
@v1cf
def cond_v1():
    x = X([]); w = var("w",[],True); r=var("r",[],False)
    return {"x":(x,F(2))}, {"y": tf1.cond(x>1, lambda: w*2+r, lambda: w-1-r)}
@case
@v1cf
def while_v1():
    x = X([]); w = var("w",[],True); r=var("r",[],False); t=var("t",[9],True)
    y = tf1.while_loop(lambda v: v < 100.0+r, lambda v: v*2 + tf.abs(w) + tf.abs(r) + tf.gather(t,[1])[0]*0, [x])
    z = tf1.while_loop(lambda v: v < 100.0, lambda v: tf1.cond(v>3, lambda: v*3+tf.abs(w), lambda: v+1+tf.abs(r)), [tf.abs(r)])
    return {"x":(x,F(2))}, {"y": y,"z":z}
@case
@v1cf
def switch_on_ref_pred():
    p = tf1.get_variable("p", initializer=True, use_resource=False); x=X([])
    return {"x":(x,F(2))}, {"y": tf1.cond(p, lambda: x*2, lambda: x-1)}
@case
def cond_v2():
    x = X([]); w = var("w",[],True); r=var("r",[],False)
    return {"x":(x,F(2))}, {"y": tf.cond(x>1, lambda: w*2+r, lambda: w-1-r)}
@case
def cond_v2_ret():
    x = X([]); w = var("w",[],True)
    return {"x":(x,F(2))}, {"y": tf.cond(x>1, lambda: w, lambda: w-1)}
@case
def cond_v2_read():
    x = X([]); w = var("w",[],True)
    return {"x":(x,F(2))}, {"y": tf.cond(x>1, lambda: w.read_value(), lambda: w-1)}
@case
def while_v2():
    x = X([]); w = var("w",[],True); r=var("r",[],False)
    y = tf.while_loop(lambda v: v < 100.0, lambda v: v*2 + tf.abs(w) + tf.abs(r), [x])
    z = tf.while_loop(lambda v: v < 100.0+w, lambda v: tf.cond(v>3, lambda: v*3+tf.abs(w), lambda: v+1+tf.abs(r)), [tf.abs(r)])
    return {"x":(x,F(2))}, {"y": y[0], "z": z[0]}
@case
def while_v2_refinit():
    r=var("r",[2],False); x=X([])
    y = tf.while_loop(lambda i,v: i < x, lambda i,v: (i+1,tf.concat([v,v],0)), [0.,r], shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])])
    return {"x":(x,F(2))}, {"y": y[1]}
@case
def case_v2():
    x = X([],"x",tf.int32); w = var("w",[2],True); u=var("u",[2],True)
    return {"x":(x,np.int32(1))}, {"y": tf.switch_case(x, [lambda: w*2, lambda: w+u, lambda: u-1])}
@case
def function():
    x = X(); w = var("w",[4,3],True); b=var("b",[3],True); r=var("r",[3],False)
    @tf.function(autograph=False)
    def f(v): return tf.matmul(v,w)+b
    return {"x":(x,x1)}, {"y": f(x)+r, "z": f(x*2)}
@case
def function_nested():
    x = X(); w = var("w",[4,4],True); b=var("b",[4],True)
    @tf.function(autograph=False)
    def g(v): return tf.matmul(v,w)+b
    @tf.function(autograph=False)
    def f(v): return tf.cond(tf.reduce_sum(v)>0, lambda: g(v), lambda: g(v)*b)
    @tf.function(autograph=False)
    def h(v): return tf.while_loop(lambda i,_: i<2, lambda i,u: (i+1, f(u)), [0, v])[1]
    return {"x":(x,x1)}, {"y": h(x)}
@case
def function_read_call():
    x = X(); w = var("w",[4,4],True); b=var("b",[4],True)
    @tf.function(autograph=False)
    def g(v, a): return tf.matmul(v,w)+b+a
    @tf.function(autograph=False)
    def f(v): return g(v, b.read_value())
    return {"x":(x,x1)}, {"y": f(x)}
@case
def function_arg_ref():
    x = X(); r=var("r",[4,3],False)
    @tf.function(autograph=False)
    def f(v,q): return tf.matmul(v,q)
    return {"x":(x,x1)}, {"y": f(x,r)}
@case
def function_handle_arg():
    x = X(); w=var("w",[4,3],True); w2=var("w2",[4,3],True)
    @tf.function(autograph=False)
    def f(v,q): return tf.matmul(v,tf.raw_ops.ReadVariableOp(resource=q, dtype=tf.float32))
    return {"x":(x,x1)}, {"y": f(x,w.handle)+f(x,w2.handle)}
@case
def function_gather():
    t=var("t",[9,3],True); i = X([None],"i",tf.int64)
    @tf.function(autograph=False)
    def f(i): return tf1.nn.embedding_lookup(t,i)
    return {"i":(i,np.array([1,7]))}, {"y": f(i)}
@case
def function_gather_nd():
    t=var("t",[9,3],True); i = X([None],"i",tf.int64)
    @tf.function(autograph=False)
    def f(i): return t.gather_nd(i[:,None])
    return {"i":(i,np.array([1,7]))}, {"y": f(i)}
@case
def map_fn_gather():
    t=var("t",[9,3],True); i = X([None],"i",tf.int64)
    return {"i":(i,np.array([1,7]))}, {"y": tf.map_fn(lambda k: tf.gather(t,k)*2, i, fn_output_signature=tf.float32)}
@case
def unused_function():
    x = X(); w = var("w",[4,4],True)
    @tf.function(autograph=False)
    def g(v): return tf.matmul(v,w)
    @tf.function(autograph=False)
    def f(v): return g(v)+1
    g(x)
    f(x)
    return {"x":(x,x1)}, {"y": g(x)}
@case
def handle_identity():
    x = X(); w = var("w",[4,3],True)
    h = tf.identity(tf.identity(w.handle)); y = tf.raw_ops.ReadVariableOp(resource=h, dtype=tf.float32)
    return {"x":(x,x1)}, {"y": tf.matmul(x,y)}
@case
def two_reads():
    x = X(); w = var("w",[4,3],True)
    return {"x":(x,x1)}, {"y": tf.matmul(x,w)+tf.matmul(x,w.read_value())+w.sparse_read([0,1])[0], "w": w.read_value()}
@case
def training():
    x = X(); w = var("w",[4,3],True); r=var("r",[3],False); y=tf.matmul(x,w)+r
    step=tf1.train.get_or_create_global_step()
    tf1.train.AdamOptimizer().minimize(tf.reduce_mean(y*y), step)
    return {"x":(x,x1)}, {"y": y, "step": tf.identity(step)}
@case
def control_deps():
    x = X(); w = var("w",[4,3],True)
    with tf.control_dependencies([tf.no_op(name="first"), w.read_value()]): y=tf.matmul(x,w)
    return {"x":(x,x1)}, {"y": y}
@case
def no_variables():
    x = X(); return {"x":(x,x1)}, {"y": x*2}
@case
def colocate():
    x = X(); w = var("w",[4,3],True); r=var("r",[3],False)
    with tf1.colocate_with(w.handle): a=tf.matmul(x,w)
    with tf1.colocate_with(r): b=a+r
    return {"x":(x,x1)}, {"y": b}
@case
def assign_ref():
    x = X([]); r=var("r",[],False); return {"x":(x,F(1))}, {"y": r.assign_add(x)}
@case
def assign_res():
    x = X([]); w=var("w",[],True)
    with tf.control_dependencies([w.assign_add(x)]): y=w.read_value()
    return {"x":(x,F(1))}, {"y": y}
@case
def table():
    x = X([None],"x",tf.string); w=var("w",[3],True)
    t = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a","b"],np.array([1.,2.],F)), -1.)
    return {"x":(x,np.array([b"a",b"c"],object))}, {"y": t.lookup(x)*w[0]}
@case
def var_shape():
    w=var("w",[3,2],True); x=X([])
    return {"x":(x,F(1))}, {"y": tf.raw_ops.VariableShape(input=w.handle, out_type=tf.int32)}
@case
def is_init():
    w=var("w",[3,2],True); x=X([])
    return {"x":(x,F(1))}, {"y": w.is_initialized()}
@case
def keras():
    x=X(); d=tf.keras.layers.Dense(3) if False else None
    bn=tf1.get_variable("gamma",[4],use_resource=True); m=tf1.get_variable("m",[4],use_resource=True); 
    y=tf1.nn.fused_batch_norm(tf.reshape(x,[-1,1,1,4]), bn, m, mean=m, variance=tf.abs(bn), is_training=False)[0]
    return {"x":(x,x1)}, {"y": y}
