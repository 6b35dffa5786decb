import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.nio.charset.StandardCharsets;
import javax.xml.stream.XMLInputFactory;
import javax.xml.stream.XMLStreamConstants;
import javax.xml.stream.XMLStreamException;
import javax.xml.stream.XMLStreamReader;

/**
 * Reads stanzas as jicofo does, each inside a stream: pairs of a four-byte length
 * and bytes from standard input. It prints a line for each, empty when nothing was
 * thrown.
 */
final class Stax {
    private static final String HEAD =
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    private static final String TAIL = "</stream:stream>";

    public static void main(String[] args) throws Exception {
        XMLInputFactory factory = XMLInputFactory.newInstance();
        factory.setProperty(XMLInputFactory.IS_COALESCING, true);
        factory.setProperty(XMLInputFactory.SUPPORT_DTD, false);
        factory.setProperty(XMLInputFactory.IS_SUPPORTING_EXTERNAL_ENTITIES, false);
        DataInputStream in = new DataInputStream(System.in);
        StringBuilder out = new StringBuilder();
        while (in.available() > 0) {
            byte[] stanza = new byte[in.readInt()];
            in.readFully(stanza);
            out.append(complaint(factory, stanza)).append('\n');
        }
        System.out.print(out);
    }

    private static String complaint(XMLInputFactory factory, byte[] stanza) throws Exception {
        ByteArrayOutputStream document = new ByteArrayOutputStream();
        document.write(HEAD.getBytes(StandardCharsets.UTF_8));
        document.write(stanza);
        document.write(TAIL.getBytes(StandardCharsets.UTF_8));
        try {
            read(factory.createXMLStreamReader(new ByteArrayInputStream(document.toByteArray()), "UTF-8"));
            return "";
        } catch (XMLStreamException | RuntimeException e) {
            return String.valueOf(e).replaceAll("\\s+", " ");
        }
    }

    private static void read(XMLStreamReader reader) throws XMLStreamException {
        while (reader.hasNext()) {
            if (reader.next() != XMLStreamConstants.START_ELEMENT) {
                continue;
            }
            reader.getName();
            for (int i = 0; i < reader.getAttributeCount(); i++) {
                reader.getAttributeName(i);
                reader.getAttributeValue(i);
            }
        }
    }
}
